create function carillon.setting_int(wanted text, fallback int) returns int
language sql stable set search_path = pg_catalog, pg_temp
as $$ select coalesce((select s.value::int from carillon.setting s where s.name = wanted), fallback) $$;

-- Wakes the bridge. NOTIFY serialises the commits of the whole cluster, so only one transaction at a time carries one; the bridge looks
-- by itself ten times a second for the others. It must never fail a commit: a transaction with a NOTIFY cannot be prepared, and
-- commits fail when somebody lets the notification queue fill up.
create function carillon.hint() returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  if current_setting('max_prepared_transactions') = '0' and pg_try_advisory_xact_lock(1667330668, 1)
    and pg_notification_queue_usage() < 0.5
  then
    perform pg_notify('carillon_hint', '');
  end if;
end $$;

create function carillon.is_channel(name text) returns boolean
language sql immutable parallel safe set search_path = pg_catalog, pg_temp
as $$ select coalesce(name collate "C" ~ '^[A-Za-z0-9_][A-Za-z0-9_.:-]{0,62}$', false) $$;

-- A user, role or tenant id.
create function carillon.is_id(id text) returns boolean
language sql immutable parallel safe set search_path = pg_catalog, pg_temp
as $$ select coalesce(octet_length(id) between 1 and 128 and id !~ '[\u0001-\u001f\u007f-\u009f]', false) $$;

create function carillon.assert_channel(name text) returns void
language plpgsql immutable set search_path = pg_catalog, pg_temp
as $$
begin
  if not carillon.is_channel(name) then
    raise exception 'carillon: % is not a channel name', coalesce(quote_literal(name), 'null') using
      errcode = 'invalid_parameter_value',
      hint = 'A channel name has 1 to 63 of A-Z a-z 0-9 _ . : - and does not start with . : or -';
  end if;
end $$;

-- jsonb prints a space after each comma and colon. Only payloads near the limit are worth it here; the bridge does it for all others.
create function carillon.compact(printed text) returns text
language sql immutable parallel safe set search_path = pg_catalog, pg_temp
as $$ select regexp_replace(printed, '("(?:[^"\\]|\\.)*")|([,:]) ', '\1\2', 'g') $$;

-- `to_` with every id as text; raises on anything that is not an audience, since a recipient list that can't be read must not turn
-- into "everybody".
create function carillon.audience(to_ jsonb) returns text
language plpgsql immutable set search_path = pg_catalog, pg_temp
as $$
declare
  result jsonb := '{}';
  part   text;
  item   jsonb;
  list   jsonb;
begin
  if to_ is null or jsonb_typeof(to_) = 'null' then return null; end if;
  if jsonb_typeof(to_) <> 'object' then
    raise exception 'carillon: to_ is an object, not %', jsonb_typeof(to_) using errcode = 'invalid_parameter_value';
  end if;
  for part, list in select key, value from jsonb_each(to_ - 'except')
    union all select 'except.' || key, value from jsonb_each(coalesce(to_ -> 'except', '{}'))
  loop
    if part not in ('users', 'roles', 'tenants', 'rooms', 'except.users', 'except.rooms', 'except.sockets')
      or jsonb_typeof(list) <> 'array'
    then
      raise exception 'carillon: to_ has the lists users, roles, tenants, rooms and except: {users, rooms, sockets}; not %: %',
        part, left(list::text, 80) using errcode = 'invalid_parameter_value';
    end if;
    if jsonb_array_length(list) > 10000 then
      raise exception 'carillon: to_.% has more than 10000 items', part using errcode = 'invalid_parameter_value';
    end if;
    for item in select value from jsonb_array_elements(list) loop
      if jsonb_typeof(item) not in ('string', 'number') or not (case
        when jsonb_typeof(item) = 'number' then item::text ~ '^-?\d+$'
        when part in ('rooms', 'except.rooms') then (item #>> '{}') collate "C" ~ '^[A-Za-z0-9_][A-Za-z0-9_.:-]{0,127}$'
        when part = 'except.sockets' then octet_length(item #>> '{}') between 1 and 64
        else carillon.is_id(item #>> '{}') end)
      then
        raise exception 'carillon: to_.% cannot contain %', part, left(item::text, 200) using errcode = 'invalid_parameter_value';
      end if;
    end loop;
    list := coalesce((select jsonb_agg(to_jsonb(value)) from jsonb_array_elements_text(list)), '[]');
    result := case when part like 'except.%'
      then result || jsonb_build_object('except', coalesce(result -> 'except', '{}') || jsonb_build_object(substr(part, 8), list))
      else result || jsonb_build_object(part, list) end;
  end loop;
  return result::text;
end $$;

-- A message on a channel, delivered if and only if this transaction commits. Raises on what is not a channel name or an audience.
create function carillon.publish(channel text, payload jsonb, to_ jsonb default null) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  audience  text := carillon.audience(to_);
  body      text := coalesce(payload, 'null')::text;
  max_bytes int;
begin
  perform carillon.assert_channel(channel), pg_current_xact_id();
  -- No limit is set below this; the bridge would see to it.
  if octet_length(body) > 1000 then
    max_bytes := carillon.setting_int('MAX_PAYLOAD_BYTES', 65536);
    -- The spaces are less than a third of what jsonb prints.
    if octet_length(body) > max_bytes and octet_length(body) < max_bytes * 1.5 then body := carillon.compact(body); end if;
    if octet_length(body) > max_bytes then
      insert into carillon.outbox (channel, truncated, audience)
      values (channel, format('{"bytes":%s}', octet_length(body)), audience);
      perform carillon.hint();
      return;
    end if;
  end if;
  insert into carillon.outbox (channel, payload, audience) values (channel, body, audience);
  perform carillon.hint();
end $$;

-- "Fetch again" in a namespace (`trips` or `/trips`), delivered if and only if this transaction commits.
create function carillon.refresh(namespace text, scope text, to_ jsonb default null) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  channel  text := case when namespace like '/%' then substr(namespace, 2) else namespace end;
  audience text := carillon.audience(to_);
begin
  perform carillon.assert_channel(channel), pg_current_xact_id();
  if scope is null or scope collate "C" !~ '^[A-Za-z0-9_.:-]{1,128}$' then
    raise exception 'carillon: % is not a scope', coalesce(quote_literal(scope), 'null') using
      errcode = 'invalid_parameter_value', hint = 'A scope has 1 to 128 of A-Z a-z 0-9 _ . : -; ALL means everything';
  end if;
  insert into carillon.outbox (channel, scope, audience) values (channel, scope, audience);
  perform carillon.hint();
end $$;

-- Holds nothing but the drop-in, so that a function that puts this schema first in its search_path has nothing else shadowed.
-- Everybody may NOTIFY, and this is no more than that.
create schema carillon_notify;
grant usage on schema carillon_notify to public;

-- pg_notify without its limits: durable, any size, no lock at commit. It takes what it gets and never fails the caller's write; what is
-- not a channel name the bridge drops and counts, as it does for NOTIFY.
create function carillon_notify.pg_notify(channel text, payload text) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  max_bytes int;
begin
  perform pg_current_xact_id();
  if octet_length(payload) > 1000 then
    max_bytes := carillon.setting_int('MAX_PAYLOAD_BYTES', 65536);
    if octet_length(payload) > max_bytes then
      insert into carillon.outbox (channel, truncated)
      values (coalesce(channel, ''), format('{"bytes":%s}', octet_length(payload)));
      perform carillon.hint();
      return;
    end if;
  end if;
  insert into carillon.outbox (channel, raw) values (coalesce(channel, ''), coalesce(payload, ''));
  perform carillon.hint();
end $$;

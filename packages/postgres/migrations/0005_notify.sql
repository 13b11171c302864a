-- Raises on what is no notification; the limits are those of `POST /api/notify` (packages/protocol/src/notifications.ts).
create function carillon.assert_notification(type text, title text, body text, data jsonb) returns void
language plpgsql immutable set search_path = pg_catalog, pg_temp
as $$
declare
  reserved text;
begin
  if type is null or type collate "C" !~ '^[A-Za-z0-9_.:-]{1,128}$' then
    raise exception 'carillon: % is not a type', coalesce(quote_literal(type), 'null') using
      errcode = 'invalid_parameter_value', hint = 'A type has 1 to 128 of A-Z a-z 0-9 _ . : -, like TRIP_APPROVED';
  end if;
  if title is null or length(title) not between 1 and 256 then
    raise exception 'carillon: a title has 1 to 256 characters' using errcode = 'invalid_parameter_value';
  end if;
  if body is null or length(body) > 2048 then
    raise exception 'carillon: a body has at most 2048 characters' using errcode = 'invalid_parameter_value';
  end if;
  if jsonb_typeof(data) <> 'object' or octet_length(data::text) > 4096 or octet_length(carillon.compact(data::text)) > 2048 then
    raise exception 'carillon: data is an object of at most 2048 bytes' using errcode = 'invalid_parameter_value';
  end if;
  select key into reserved from jsonb_object_keys(data) key
    where key in ('from', 'notification', 'message_type') or key ~ '^(google|gcm)' limit 1;
  if reserved is not null then
    raise exception 'carillon: data must not have the key %, which Firebase keeps for itself', reserved using
      errcode = 'invalid_parameter_value';
  end if;
end $$;

-- The channels that a notification of this type refreshes beside `notifications`: NOTIFY_ROUTES.
create function carillon.notify_routes(type text) returns setof text
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select distinct channel
  from jsonb_array_elements(coalesce(
      (select s.value::jsonb from carillon.setting s where s.name = 'NOTIFY_ROUTES'),
      '[{"pattern":"TRIP_*|VEHICLE_*","namespaces":["trips"]},{"pattern":"USER_*","namespaces":["users"]}]'
    )) route,
    string_to_table(route ->> 'pattern', '|') pattern,
    jsonb_array_elements_text(route -> 'namespaces') channel
  where type like replace(replace(pattern, '_', '\_'), '*', '%')
$$;

-- One entry for each user (`user_ids` null: for everybody with a device or an entry), the refreshes that tell them, and the time at which
-- their devices get a push: all of it or nothing. `but_channel` needs no refresh by NOTIFY_ROUTES, since the caller publishes there.
-- Returns the number of entries.
create function carillon.store_event(
  event_id text, user_ids text[], type text, title text, body text, data jsonb, push jsonb, push_wanted boolean, but_channel text
) returns int
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
  due_at timestamptz;
  stored int;
begin
  perform carillon.assert_notification(type, title, body, data);
  -- In a database in another encoding than UTF-8 text can be stored that nobody could read back.
  perform convert_to(concat(title, body, data, push, array_to_string(user_ids, '')), 'UTF8');
  if cardinality(user_ids) not between 1 and 10000 then
    raise exception 'carillon: a notification is for 1 to 10000 users, or for all of them' using errcode = 'invalid_parameter_value';
  end if;
  if exists (select from unnest(user_ids) id where not carillon.is_id(id)) then
    raise exception 'carillon: not a user id: %', (select coalesce(quote_literal(left(id, 200)), 'null') from unnest(user_ids) id
      where not carillon.is_id(id) limit 1) using errcode = 'invalid_parameter_value';
  end if;
  if push_wanted then
    due_at := clock_timestamp() + make_interval(secs => carillon.setting_int('PUSH_ACK_MS', 2000) / 1000.0);
  end if;

  insert into carillon.inbox_entry (event_id, user_id, type, title, body, data, push, push_due_at)
  select event_id, recipients.user_id, type, title, body, data, push, due_at
  from (
    select unnest(user_ids) as user_id where user_ids is not null
    union
    select d.user_id from carillon.device d where user_ids is null
    union
    select e.user_id from carillon.inbox_entry e where user_ids is null
  ) recipients;
  get diagnostics stored = row_count;

  -- Lists of recipients are cut so that no entry of the log is huge; one that is for everybody needs none.
  insert into carillon.outbox (channel, scope, payload, audience)
  select channel, type, jsonb_build_object('eventId', event_id)::text, list.audience
  from (
      select 'notifications' union select route from carillon.notify_routes(type) route where route is distinct from but_channel
    ) routes (channel),
    (
      select null::text as audience where user_ids is null
      union all
      select jsonb_build_object('users', jsonb_agg(id))::text
      from (select id, row_number() over () as n from (select distinct unnest(user_ids) as id) ids) numbered
      group by (n - 1) / 1000
    ) list;
  perform carillon.hint();
  return stored;
end $$;

-- Notifies users, if and only if this transaction commits: an entry in the inbox of each, a refresh of `/notifications` (and of the
-- namespace that NOTIFY_ROUTES names for the type), and a push to the devices that did not show it in time. Returns the event's id.
create function carillon.notify(user_ids text[], type text, title text, body text, data jsonb default '{}') returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  event_id text := gen_random_uuid();
begin
  if user_ids is null then
    raise exception 'carillon: user_ids is null; ''*'' is everybody' using errcode = 'invalid_parameter_value';
  end if;
  perform carillon.store_event(event_id, user_ids, type, title, coalesce(body, ''), coalesce(data, '{}'), null, true, null);
  return event_id;
end $$;

create function carillon.notify(user_ids bigint[], type text, title text, body text, data jsonb default '{}') returns text
language sql security definer set search_path = pg_catalog, pg_temp
as $$ select carillon.notify(user_ids::text[], type, title, body, data) $$;

-- '*' is everybody with a device or an entry; '{42,43}' is a list, as it would be where this function weren't; anything else one user.
create function carillon.notify(user_ids text, type text, title text, body text, data jsonb default '{}') returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  event_id text := gen_random_uuid();
begin
  if user_ids is distinct from '*' then
    return carillon.notify(case when user_ids like '{%}' then user_ids::text[] else array[user_ids] end, type, title, body, data);
  end if;
  perform carillon.store_event(event_id, null, type, title, coalesce(body, ''), coalesce(data, '{}'), null, true, null);
  return event_id;
end $$;

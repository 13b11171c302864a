-- The tables that `carillon.watch` watches, and for each of them a trigger function `carillon.capture_<id>` written for its columns:
-- a function with fixed queries keeps its plans, which costs a fraction of building and planning a query for each statement.
create table carillon.watched (
  id        int      generated always as identity primary key,
  rel       regclass not null unique,
  channel   text     not null,
  columns   text[],
  to_user   text,
  -- What the function was written for.
  built_for text
);

-- Everything about a table that a capture function takes for granted. Declared immutable so that the planner computes it once for each
-- plan: a plan that reads the table's transition tables is thrown away whenever the table is altered, and so is this value with it.
create function carillon.shape(rel oid) returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select md5(concat_ws(' ', c.relnamespace::regnamespace, quote_ident(c.relname),
    (select string_agg(concat_ws(':', a.attnum, quote_ident(a.attname), a.atttypid), ',' order by a.attnum)
      from pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped),
    (select i.indkey::text from pg_index i where i.indrelid = c.oid and i.indisprimary)))
  from pg_class c where c.oid = $1
$$;

-- A column's value as an SQL expression: one that becomes JSON (`as_text` false) or text. Types from outside pg_catalog go through their
-- output functions only: their casts may be anybody's code, and this runs with the rights of Carillon's owner.
create function carillon.value_sql(col name, col_type oid, as_text boolean) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  value text := format('t.%I', col);
  base  pg_type;
begin
  select * into base from pg_type where oid = col_type;
  while base.typtype = 'd' loop
    select * into base from pg_type where oid = base.typbasetype;
  end loop;
  if base.typnamespace <> 'pg_catalog'::regnamespace then
    -- An array of whatever elements becomes one of texts, and so a list in JSON.
    return format('case when %1$s is not null then format(''%%s'', %1$s)%2$s end',
      value, case when base.typcategory = 'A' and not as_text then '::text[]' else '' end);
  end if;
  -- Doubles can't hold these, and every client has doubles for numbers.
  if as_text or base.oid in ('int8'::regtype, 'numeric'::regtype) then return value || '::text'; end if;
  if base.oid in ('int8[]'::regtype, 'numeric[]'::regtype) then return value || '::text[]'; end if;
  return format('%s::%s', value, format_type(base.oid, null));
end $$;

-- The query that reads the transition tables of one statement, up to one row more than WATCH_MAX_ROWS, and answers with: a text for each
-- publication, which is its payload or, after a '#', what says that the payload was too large; the user of each; how many rows it read;
-- and whether that is all: not more rows than
-- WATCH_MAX_ROWS, of a table that still is as it was when the query was written.
create function carillon.capture_sql(w carillon.watched, op text) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  -- `x.*` below, since a column may be called x.
  max_rows  int := carillon.setting_int('WATCH_MAX_ROWS', 1000);
  max_bytes int := carillon.setting_int('MAX_PAYLOAD_BYTES', 65536);
  head      text;
  cut       text;
  columns   text;
  keys      text[];
  key       text;
  users     text;
  source    text;
  query     text;
begin
  select format('{"op":"%s","schema":%s,"table":%s,"key":', op, to_json(n.nspname), to_json(c.relname)), format('#{"table":%s,"key":', to_json(c.relname))
    into head, cut
    from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = w.rel;
  -- A virtual generated column has no value in a transition table.
  select coalesce(string_agg(format('%s as %I', carillon.value_sql(a.attname, a.atttypid, false), a.attname), ', ' order by a.attnum), '')
    into columns
    from pg_attribute a
    where a.attrelid = w.rel and a.attnum > 0 and not a.attisdropped and a.attgenerated <> 'v'
      and (w.columns is null or a.attname = any (w.columns));
  select array_agg(carillon.value_sql(a.attname, a.atttypid, true) || case when i.indnkeyatts > 1 then format(' as %I', a.attname) else '' end
      order by k.n)
    into keys
    from pg_index i, unnest(i.indkey) with ordinality k (attnum, n), pg_attribute a
    where i.indrelid = w.rel and i.indisprimary and k.n <= i.indnkeyatts and a.attrelid = w.rel and a.attnum = k.attnum;
  key := case
    when keys is null then $q$'null'::text$q$
    when cardinality(keys) = 1 then format('to_json(%s)::text', keys[1])
    else format('(select row_to_json(x.*)::text from (select %s) x)', array_to_string(keys, ', ')) end;
  select carillon.value_sql(a.attname, a.atttypid, true) into users
    from pg_attribute a where a.attrelid = w.rel and a.attname = w.to_user and not a.attisdropped;
  source := format('select %s as k, (select row_to_json(x.*)::text from (select %s) x) as r, %s as u from (select * from %%I limit %s) t offset 0',
    replace(key, '%', '%%'), replace(columns, '%', '%%'), replace(coalesce(users, 'null::text'), '%', '%%'), max_rows + 1);
  if op <> 'UPDATE' then
    query := format($q$
      select array_agg(case when octet_length(p.k) + octet_length(p.r) <= %1$s then %2$L || p.k || %3$L || p.r || '}' else %4$L || p.k || '}' end) as bodies,
        %6$s as users, count(*) as n
      from (%5$s) p
      $q$, max_bytes - octet_length(head || ',"row":}'), head, case op when 'DELETE' then ',"old":' else ',"row":' end, cut,
      format(source, case op when 'DELETE' then 'old_rows' else 'new_rows' end),
      case when w.to_user is null then 'null::text[]' else 'array_agg(p.u)' end);
  else
    -- Both tables hold the rows in one order. Large rows are compared by their hashes, so that arrays stay small.
    source := format($q$
      select array_agg(s.k) as ks, array_agg(s.u) as us, count(*) as n,
        array_agg(case when octet_length(s.r) <= %s then s.r else '#' || md5(s.r) end) as rs
      from (%s) s$q$, max_bytes, source);
    query := format($q$
      select array_agg(case
          when left(p.r, 1) is distinct from '#' and left(p.o, 1) is distinct from '#'
            and octet_length(p.k) + coalesce(octet_length(p.r) + 7, 0) + coalesce(octet_length(p.o) + 7, 0) <= %1$s
          then %2$L || p.k || coalesce(',"row":' || p.r, '') || coalesce(',"old":' || p.o, '') || '}'
          else %3$L || p.k || '}' end) as bodies,
        array_agg(p.u) as users, (select n.n from new_side n) as n
      from (
        select a.k, m.r, m.o, m.u
        from new_side n, old_side o, unnest(n.ks, n.rs, n.us, o.ks, o.rs, o.us) a (k, r, u, ok, o, ou)
        -- A row that moves from one user to another tells each only their own side of it.
        cross join lateral (
          select a.r, a.o, a.u where a.u is not distinct from a.ou
          union all select null, a.o, a.ou where a.u is distinct from a.ou
          union all select a.r, null, a.u where a.u is distinct from a.ou
        ) m (r, o, u)
        where a.r is distinct from a.o or a.u is distinct from a.ou or a.k <> a.ok
      ) p
      $q$, max_bytes - octet_length(head || '}'), head, cut);
    query := format('with new_side as (%s), old_side as (%s) ', format(source, 'new_rows'), format(source, 'old_rows')) || query;
  end if;
  return format('select q.bodies, q.users, q.n, q.n <= %s and carillon.shape(%s) = %L from (%s) q', max_rows, w.rel::oid,
    carillon.shape(w.rel), query);
end $$;

-- A publication that does not say which rows.
create function carillon.enqueue_summary(channel text, payload text) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
begin
  insert into carillon.outbox (channel, payload) values (channel, payload);
  perform carillon.hint();
end $$;

-- Something changed and nothing more can be said of it: subscribers hear that, and the bridge counts and logs the reason.
create function carillon.enqueue_failure(channel text, table_json text, reason text) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
begin
  raise warning 'carillon: a change of table % is published without its rows: %', table_json, reason;
  insert into carillon.outbox (channel, truncated, error)
  values (channel, '{"table":' || table_json || ',"key":null}', left(reason, 1000));
  perform carillon.hint();
end $$;

-- (Re)writes the trigger function of one watched table. Its query stands in a block that catches everything: whatever goes wrong there
-- must not fail the write that fired it. The block only reads, so that it takes no subtransaction id; the insert stands outside.
create function carillon.build_capture(w carillon.watched) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $build$
declare
  table_json text;
  names      text;
  max_rows   int := carillon.setting_int('WATCH_MAX_ROWS', 1000);
begin
  select to_json(c.relname)::text, format('"schema":%s,"table":%s', to_json(n.nspname), to_json(c.relname)) into table_json, names
    from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = w.rel;
  execute format($create$
    create or replace function carillon.%1$I() returns trigger
    language plpgsql security definer set search_path = pg_catalog, pg_temp
    as $capture$
    #variable_conflict use_column
    declare
      bodies text[]; users text[]; n bigint; whole boolean; failure text;
    begin
      begin
        if tg_op = 'INSERT' then %4$s;
        elsif tg_op = 'UPDATE' then %5$s;
        elsif tg_op = 'DELETE' then %6$s;
        else
          perform carillon.enqueue_summary(%2$L, %3$L);
          return null;
        end if;
      exception when others then whole := false; n := null;
      end;
      if not whole then
        if n is null or n <= %9$s then
          -- The table was altered. Until the bridge has this function rewritten, the query is made anew for each statement.
          begin
            execute (select carillon.capture_sql(w, tg_op) from carillon.watched w where w.id = %7$s) into bodies, users, n, whole;
          exception when others then failure := sqlerrm;
          end;
          if failure is not null then
            perform carillon.enqueue_failure(%2$L, %8$L, failure);
            return null;
          end if;
        end if;
        if n > %9$s then
          if tg_op = 'DELETE' then select count(*) into n from old_rows; else select count(*) into n from new_rows; end if;
          perform carillon.enqueue_summary(%2$L, format('{"op":"%%s","table":%%s,"rows":%%s}', tg_op, %8$L, n));
          return null;
        end if;
      end if;
      %10$s;
      if found and pg_try_advisory_xact_lock(1667330668, 1) then perform carillon.hint(); end if;
      return null;
    end $capture$
    $create$,
    'capture_' || w.id, w.channel, format('{"op":"TRUNCATE",%s,"key":null}', names),
    carillon.into_variables(carillon.capture_sql(w, 'INSERT')),
    carillon.into_variables(carillon.capture_sql(w, 'UPDATE')),
    carillon.into_variables(carillon.capture_sql(w, 'DELETE')),
    w.id, table_json, max_rows,
    case when w.to_user is null then format($q$insert into carillon.outbox (channel, payload, truncated)
        select %L, case when left(b, 1) <> '#' then b end, case when left(b, 1) = '#' then substr(b, 2) end from unnest(bodies) b$q$, w.channel)
    -- A row without a user is for nobody; what can't be a user is counted by the bridge.
    else format($q$insert into carillon.outbox (channel, payload, truncated, audience, error)
        select %L, case when k.ok and left(b, 1) <> '#' then b end, case when k.ok and left(b, 1) = '#' then substr(b, 2) end,
          case when k.ok then '{"users":[' || to_json(u) || ']}' end, case when not k.ok then 'a user id that is none' end
        from unnest(bodies, users) p (b, u), lateral (select carillon.is_id(u)) k (ok) where u is not null$q$, w.channel) end);
  update carillon.watched set built_for = carillon.build_key(w.rel) where id = w.id;
end $build$;

create function carillon.into_variables(query text) returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$ select 'select * into bodies, users, n, whole from (' || query || ') q' $$;

create function carillon.build_key(rel oid) returns text
language sql volatile set search_path = pg_catalog, pg_temp
as $$
  select concat_ws(':', rel, carillon.shape(rel), carillon.setting_int('WATCH_MAX_ROWS', 1000), carillon.setting_int('MAX_PAYLOAD_BYTES', 65536))
$$;

-- Rewrites the functions of tables that were altered (or restored from a dump) since, and of all after a setting changed; forgets tables
-- that are gone. The bridge calls it now and then; without it everything works, more slowly.
create function carillon.rebuild() returns int
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  w     carillon.watched;
  built int := 0;
begin
  if not pg_try_advisory_xact_lock(1667330668, 3) then return 0; end if;
  for w in select * from carillon.watched loop
    if not exists (select from pg_class where oid = w.rel) then
      execute format('drop function if exists carillon.%I() cascade', 'capture_' || w.id);
      delete from carillon.watched where id = w.id;
    elsif w.built_for is distinct from carillon.build_key(w.rel) then
      perform carillon.build_capture(w);
      built := built + 1;
    end if;
  end loop;
  return built;
end $$;

-- The parts of watch and unwatch that need the rights of Carillon's owner. Whoever may put a trigger on a table may have it watched.
create function carillon.register(rel regclass, channel text, columns text[], to_user text) returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
  w carillon.watched;
begin
  if not has_table_privilege(session_user, rel, 'TRIGGER') then
    raise exception 'carillon: % may not put triggers on %', session_user, rel using errcode = 'insufficient_privilege';
  end if;
  insert into carillon.watched as present (rel, channel, columns, to_user) values (rel, channel, columns, to_user)
  on conflict on constraint watched_rel_key do update
    set channel = excluded.channel, columns = excluded.columns, to_user = excluded.to_user
  returning present.* into w;
  perform carillon.build_capture(w);
  return 'capture_' || w.id;
end $$;

create function carillon.unregister(rel regclass) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
  w carillon.watched;
begin
  if not has_table_privilege(session_user, rel, 'TRIGGER') then
    raise exception 'carillon: % may not remove triggers from %', session_user, rel using errcode = 'insufficient_privilege';
  end if;
  delete from carillon.watched where watched.rel = unregister.rel returning * into w;
  if found then execute format('drop function if exists carillon.%I()', 'capture_' || w.id); end if;
end $$;

-- Publishes every change of a table as {op, schema, table, key, row?, old?} on a channel. `columns`: what `row` and `old` have, default
-- all; an update that changes none of them publishes nothing. `to_user`: the column that names the only user who hears of a row.
-- A second call replaces the first.
create function carillon.watch(rel regclass, channel text, columns text[] default null, to_user text default null) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
  rel_class pg_class;
  missing   text;
  capture   text;
  part      regclass;
begin
  perform carillon.assert_channel(channel);
  select * into rel_class from pg_class c where c.oid = rel;
  if rel_class.relkind is null or rel_class.relkind not in ('r', 'p') or rel_class.relpersistence = 't'
    or rel_class.relnamespace in (select n.oid from pg_namespace n where n.nspname in ('pg_catalog', 'information_schema', 'carillon'))
  then
    raise exception 'carillon: % is not a table that can be watched', coalesce(rel::text, 'null') using
      errcode = 'wrong_object_type', hint = 'Ordinary and partitioned tables can be watched; views, foreign and temporary tables cannot.';
  end if;
  select string_agg(format('%I', wanted), ', ') into missing from unnest(columns || to_user) wanted
    where wanted is not null and not exists (
      select from pg_attribute a where a.attrelid = rel and a.attname = wanted and a.attnum > 0 and not a.attisdropped);
  if missing is not null then
    raise exception 'carillon: % has no column %', rel, missing using errcode = 'undefined_column';
  end if;
  if cardinality(columns) = 0 then
    raise exception 'carillon: an empty list of columns; null means all' using errcode = 'invalid_parameter_value';
  end if;

  perform carillon.unwatch(rel);
  capture := carillon.register(rel, channel, columns, to_user);
  -- A statement fires only the triggers of the table that it names, which may be a partition.
  for part in select rel union select p.relid from pg_partition_tree(rel) p join pg_class c on c.oid = p.relid where c.relkind <> 'f' loop
    execute format('create trigger carillon_insert after insert on %s referencing new table as new_rows
      for each statement execute function carillon.%I()', part, capture);
    execute format('create trigger carillon_update after update on %s referencing old table as old_rows new table as new_rows
      for each statement execute function carillon.%I()', part, capture);
    execute format('create trigger carillon_delete after delete on %s referencing old table as old_rows
      for each statement execute function carillon.%I()', part, capture);
    execute format('create trigger carillon_truncate after truncate on %s
      for each statement execute function carillon.%I()', part, capture);
  end loop;
end $$;

-- Harmless on a table that is not watched.
create function carillon.unwatch(rel regclass) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
  found_trigger record;
begin
  if not exists (select from carillon.watched_tables() w where w = rel) then return; end if;
  for found_trigger in
    select t.tgname, t.tgrelid::regclass as on_table
    from pg_trigger t join pg_proc p on p.oid = t.tgfoid join pg_namespace n on n.oid = p.pronamespace
    where n.nspname = 'carillon' and p.proname = carillon.capture_name(rel)
  loop
    execute format('drop trigger %I on %s', found_trigger.tgname, found_trigger.on_table);
  end loop;
  perform carillon.unregister(rel);
end $$;

create function carillon.capture_name(rel regclass) returns text
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$ select 'capture_' || w.id from carillon.watched w where w.rel = $1 $$;

create function carillon.watched_tables() returns setof regclass
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$ select rel from carillon.watched $$;

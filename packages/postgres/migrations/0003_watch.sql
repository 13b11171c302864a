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
    -- An array of whatever elements becomes one of texts, and so a list in JSON. To be `distinct from null` is to be a value; a composite
    -- one with a null in it is neither null nor not null.
    return format('case when %1$s is distinct from null then format(''%%s'', %1$s)%2$s end',
      value, case when base.typcategory = 'A' and not as_text then '::text[]' else '' end);
  end if;
  -- Doubles can't hold these, and every client has doubles for numbers.
  if as_text or base.oid in ('int8'::regtype, 'numeric'::regtype) then return value || '::text'; end if;
  if base.oid in ('int8[]'::regtype, 'numeric[]'::regtype) then return value || '::text[]'; end if;
  -- With a modifier of -1, which is none: `character` and `bit` by their names alone are of length 1, and cut what they are given.
  return format('%s::%s', value, format_type(base.oid, -1));
end $$;

-- Which of these columns a table does not have, or has only as a virtual one.
create function carillon.missing_columns(rel regclass, wanted text[]) returns text
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select string_agg(format('%I', name), ', ') from unnest(wanted) name where name is not null and not exists (
    select from pg_attribute a where a.attrelid = rel and a.attname = name and a.attnum > 0 and not a.attisdropped and a.attgenerated <> 'v')
$$;

-- What is published of a row `t`, as SQL expressions: its primary key and its columns as JSON, and the user it belongs to. And whether
-- all of the key is among the columns.
create function carillon.row_sql(w carillon.watched, out key text, out value text, out owner text, out has_key boolean)
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  gone text := carillon.missing_columns(w.rel, w.columns || w.to_user);
begin
  -- Without the columns that it was told, changes would pass for none, and rows for nobody's.
  if gone is not null then
    raise exception 'its column % is gone; call carillon.watch again', gone using errcode = 'undefined_column';
  end if;
  -- A virtual generated column has no value in a transition table.
  select carillon.object_sql(array_agg(a.attname order by a.attnum), array_agg(carillon.value_sql(a.attname, a.atttypid, false) order by a.attnum))
    into value
    from pg_attribute a
    where a.attrelid = w.rel and a.attnum > 0 and not a.attisdropped and a.attgenerated <> 'v'
      and (w.columns is null or a.attname = any (w.columns));
  select case count(*)
      when 0 then $q$'null'$q$
      when 1 then format('to_json(%s)', min(carillon.value_sql(a.attname, a.atttypid, true)))
      else carillon.object_sql(array_agg(a.attname order by k.n), array_agg(carillon.value_sql(a.attname, a.atttypid, true) order by k.n)) end,
      w.columns is null or coalesce(bool_and(a.attname = any (w.columns)), true)
    into key, has_key
    from pg_index i, unnest(i.indkey) with ordinality k (attnum, n), pg_attribute a
    where i.indrelid = w.rel and i.indisprimary and k.n <= i.indnkeyatts and a.attrelid = w.rel and a.attnum = k.attnum;
  select carillon.value_sql(a.attname, a.atttypid, true) into owner
    from pg_attribute a where a.attrelid = w.rel and a.attname = w.to_user and not a.attisdropped;
  owner := coalesce(owner, 'null::text');
end $$;

-- A flat expression for a JSON object: `row_to_json` of some of the columns takes a query for each row, which costs as much as all else
-- that a trigger does. No function takes more than 100 arguments.
create function carillon.object_sql(names name[], expressions text[]) returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select coalesce(string_agg(format('concat(%s)', part), ' || ' order by n) || $q$ || '}'$q$, $q$'{}'::text$q$)
  from (
    select (i - 1) / 40 as n, string_agg(format('%L, coalesce(to_json(%s), ''null'')',
      case i when 1 then '{' else ',' end || to_json(name) || ':', expression), ', ' order by i) as part
    from unnest(names, expressions) with ordinality e (name, expression, i) group by 1
  ) parts
$$;

-- How each payload of such an operation begins.
create function carillon.head(w carillon.watched, op text) returns text
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select format('{"op":"%s","schema":%s,"table":%s,"key":', op, to_json(n.nspname), to_json(c.relname))
  from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = w.rel
$$;

-- What an expression is, as text, for each row of a transition table, up to one row more than WATCH_MAX_ROWS. What is larger than a
-- payload may be is cut off, and is too large even so: a cast to varchar costs nothing where there is nothing to cut.
create function carillon.array_sql(expression text, rows name) returns text
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select format('array(select (%s)::varchar(%s)::text from %I t limit %s)',
    expression, carillon.setting_int('MAX_PAYLOAD_BYTES', 65536) + 1, rows, carillon.setting_int('WATCH_MAX_ROWS', 1000) + 1)
$$;

-- The statement for the common case, with as little for the executor to set up as can be: it reads the transition tables into arrays.
-- `known`: whether the table still is as it was when this was written.
create function carillon.quick_sql(w carillon.watched, op text) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  e       record := carillon.row_sql(w);
  side    name   := case op when 'DELETE' then 'old_rows' else 'new_rows' end;
  payload text   := format('concat(%L, %s, %L, %s, ''}'')',
    carillon.head(w, op), e.key, case op when 'DELETE' then ',"old":' else ',"row":' end, e.value);
  known   text   := format('carillon.shape(%s) = %L', w.rel::oid, carillon.shape(w.rel));
begin
  return case op
    when 'UPDATE' then format('select %s, %s, %s, %s, %s into keys, bodies, old_keys, olds, known',
      carillon.array_sql(e.key, 'new_rows'), carillon.array_sql(e.value, 'new_rows'),
      case when e.has_key then 'null::text[]' else carillon.array_sql(e.key, 'old_rows') end, carillon.array_sql(e.value, 'old_rows'), known)
    else format('select %s, %s into bodies, known', carillon.array_sql(payload, side), known) end
    || case when w.to_user is null then ''
      when op = 'UPDATE' then format('; users := %s; old_users := %s', carillon.array_sql(e.owner, 'new_rows'), carillon.array_sql(e.owner, 'old_rows'))
      else format('; users := %s', carillon.array_sql(e.owner, side)) end;
end $$;

-- The query for all other cases. It makes no text that is too large, and answers with: a text for each publication, which is its payload
-- or, after a '#', what says that the payload was too large; the user of each; and how many rows it read, null where they don't pair up.
create function carillon.careful_sql(w carillon.watched, op text) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  e         record := carillon.row_sql(w);
  max_bytes int    := carillon.setting_int('MAX_PAYLOAD_BYTES', 65536);
  head      text   := carillon.head(w, op);
  cut       text   := (select format('#{"table":%s,"key":', to_json(relname)) from pg_class where oid = w.rel);
  side      name   := case op when 'DELETE' then 'old_rows' else 'new_rows' end;
  rows      text[] := array(
    select format('select (%s)::text as k, %s as r, %s as u from (select * from %I limit %s) t offset 0',
      e.key, e.value, e.owner, source, carillon.setting_int('WATCH_MAX_ROWS', 1000) + 1)
    from unnest(array[side, 'old_rows']) source);
  arrays    text;
begin
  if op <> 'UPDATE' then
    return format($q$
      select array_agg(case when octet_length(p.k) + octet_length(p.r) <= %s then %L || p.k || %L || p.r || '}' else %L || p.k || '}' end),
        array_agg(p.u), count(*)
      from (%s) p
      $q$, max_bytes - octet_length(head || ',"row":}'), head, case op when 'DELETE' then ',"old":' else ',"row":' end, cut, rows[1]);
  end if;
  -- Both tables hold the rows in one order; where they don't hold the same number, no number is the answer. Large rows are compared by their hashes, so that arrays stay small.
  arrays := format('select array_agg(s.k) as ks, array_agg(s.u) as us, count(*) as n,
    array_agg(case when octet_length(s.r) <= %s then s.r else ''#'' || md5(s.r) end) as rs from ', max_bytes);
  return format($q$
    with new_side as (%s), old_side as (%s)
    select array_agg(case
        when left(p.r, 1) is distinct from '#' and left(p.o, 1) is distinct from '#'
          and octet_length(p.k) + coalesce(octet_length(p.r) + 7, 0) + coalesce(octet_length(p.o) + 7, 0) <= %s
        then %L || p.k || coalesce(',"row":' || p.r, '') || coalesce(',"old":' || p.o, '') || '}'
        else %L || p.k || '}' end),
      array_agg(p.u), (select n.n from new_side n, old_side o where n.n = o.n)
    from (
      select a.k, m.r, m.o, m.u
      from new_side n, old_side o, unnest(n.ks, n.rs, n.us, o.ks, o.rs, o.us) a (k, r, u, ok, o, ou),
        %s m
      where a.r is distinct from a.o or a.u is distinct from a.ou or a.k <> a.ok
    ) p
    $q$, arrays || '(' || rows[1] || ') s', arrays || '(' || rows[2] || ') s', max_bytes - octet_length(head || '}'), head, cut,
    carillon.sides_sql());
end $$;

-- A row that moves from one user to another tells each only their own side of it.
create function carillon.sides_sql() returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$ select 'lateral (
    select a.r, a.o, a.u where a.u is not distinct from a.ou
    union all select null, a.o, a.ou where a.u is distinct from a.ou
    union all select a.r, null, a.u where a.u is distinct from a.ou)' $$;

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

-- (Re)writes the trigger function of one watched table. What reads the rows stands in a block that catches everything: whatever goes wrong
-- there must not fail the write that fired it. The block only reads, so that it takes no subtransaction id; the insert stands outside.
create function carillon.build_capture(w carillon.watched) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $build$
declare
  table_json text;
  names      text;
  max_rows   int := carillon.setting_int('WATCH_MAX_ROWS', 1000);
  max_bytes  int := carillon.setting_int('MAX_PAYLOAD_BYTES', 65536);
  insert_all text;
begin
  select to_json(c.relname)::text, format('"schema":%s,"table":%s', to_json(n.nspname), to_json(c.relname)) into table_json, names
    from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = w.rel;
  insert_all := case
    when w.to_user is null then format($q$insert into carillon.outbox (channel, payload, truncated)
          select %L, case when left(b, 1) <> '#' then b end, case when left(b, 1) = '#' then substr(b, 2) end from unnest(bodies) b$q$, w.channel)
    -- A row without a user is for nobody; what can't be a user is counted by the bridge.
    else format($q$insert into carillon.outbox (channel, payload, truncated, audience, error)
          select %L, case when k.ok and left(b, 1) <> '#' then b end, case when k.ok and left(b, 1) = '#' then substr(b, 2) end,
            case when k.ok then '{"users":[' || to_json(u) || ']}' end, case when not k.ok then 'a user id that is none' end
          from unnest(bodies, users) p (b, u), lateral (select carillon.is_id(u)) k (ok) where u is not null$q$, w.channel) end;
  execute format($create$
    create or replace function carillon.%1$I() returns trigger
    language plpgsql security definer set search_path = pg_catalog, pg_temp
    as $capture$
    #variable_conflict use_column
    declare
      keys text[]; bodies text[]; users text[]; old_keys text[]; olds text[]; old_users text[];
      n bigint; known boolean; failure text;
    begin
      begin
        if tg_op = 'INSERT' then %4$s;
        elsif tg_op = 'UPDATE' then %5$s;
          -- A row that moves to a partition whose trigger refuses it has an old side only.
          if cardinality(keys) <> cardinality(olds) then known := false;
          elsif known and cardinality(keys) = 1 and users[1] is not distinct from old_users[1] then
            if bodies[1] = olds[1] and (old_keys is null or keys[1] = old_keys[1]) and octet_length(bodies[1]) <= %10$s then return null; end if;
            bodies := array[%11$L || keys[1] || ',"row":' || bodies[1] || ',"old":' || olds[1] || '}'];
          elsif cardinality(keys) <= %9$s then
            select coalesce(array_agg(%11$L || a.k || coalesce(',"row":' || m.r, '') || coalesce(',"old":' || m.o, '') || '}'), '{}'), array_agg(m.u)
              into bodies, users
              from unnest(keys, bodies, users, old_keys, olds, old_users) a (k, r, u, ok, o, ou), %12$s m
              where a.r <> a.o or a.u is distinct from a.ou or a.k <> a.ok or octet_length(a.r) > %10$s;
          end if;
        elsif tg_op = 'DELETE' then %6$s;
        else
          -- It fires for a table and for each that it has under it, one after the other.
          if %3$L is distinct from (select o.payload from carillon.outbox o where o.xid = pg_current_xact_id() order by o.id desc limit 1) then
            perform carillon.enqueue_summary(%2$L, %3$L);
          end if;
          return null;
        end if;
      exception when others then known := false;
      end;
      if known and cardinality(bodies) = 1 and octet_length(bodies[1]) <= %10$s then
        %13$s;
      else
        n := cardinality(bodies);
        if known and n = 0 then return null; end if;
        if not known or n <= %9$s and exists (select from unnest(bodies) b where octet_length(b) > %10$s) then
          -- The table was altered, and the bridge has not yet had this function rewritten; or a row is too large.
          begin
            execute (select carillon.careful_sql(w, tg_op) from carillon.watched w where w.id = %7$s) into bodies, users, n;
            if n is null then failure := 'an update of its partition key lost rows'; end if;
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
        %14$s;
      end if;
      if found and pg_try_advisory_xact_lock(1667330668, 1) then perform carillon.hint(); end if;
      return null;
    end $capture$
    $create$,
    'capture_' || w.id, w.channel, format('{"op":"TRUNCATE",%s,"key":null}', names),
    carillon.quick_sql(w, 'INSERT'), carillon.quick_sql(w, 'UPDATE'), carillon.quick_sql(w, 'DELETE'),
    w.id, table_json, max_rows, max_bytes, carillon.head(w, 'UPDATE'), carillon.sides_sql(),
    case when w.to_user is null then format('insert into carillon.outbox (channel, payload) values (%L, bodies[1])', w.channel) else insert_all end,
    insert_all);
  update carillon.watched set built_for = carillon.build_key(w.rel) where id = w.id;
end $build$;

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
      begin
        perform carillon.build_capture(w);
        built := built + 1;
      exception when others then
        -- The function stays as it is, which says at each write what is wrong.
        raise warning 'carillon: the capture of changes of % cannot be rewritten: %', w.rel, sqlerrm;
      end;
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
  suffix    text;
  parts     regclass[];
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
  missing := carillon.missing_columns(rel, columns || to_user);
  if missing is not null then
    raise exception 'carillon: % has no column %', rel, missing using
      errcode = 'undefined_column', hint = 'A virtual generated column does not count: name what it is made of.';
  end if;
  if cardinality(columns) = 0 then
    raise exception 'carillon: an empty list of columns; null means all' using errcode = 'invalid_parameter_value';
  end if;

  -- A statement fires only the triggers of the table that it names, which may be a partition, or one that inherits.
  parts := array(
    with recursive tree (relid) as (select rel::oid union select i.inhrelid from pg_inherits i join tree on i.inhparent = tree.relid)
    select c.oid from tree join pg_class c on c.oid = tree.relid where c.relpersistence <> 't');
  select c.oid into part from pg_class c where c.oid = any (parts) and c.relkind = 'f';
  if found then
    raise exception 'carillon: % cannot be watched with the foreign table % under it', rel, part using
      errcode = 'wrong_object_type', hint = 'Postgres refuses to write to a foreign table through one whose triggers see rows.';
  end if;

  perform carillon.unwatch(rel);
  capture := carillon.register(rel, channel, columns, to_user);
  -- A part may be watched by itself as well.
  suffix := substr(capture, length('capture_'));
  foreach part in array parts loop
    execute format('create trigger %I after insert on %s referencing new table as new_rows
      for each statement execute function carillon.%I()', 'carillon_insert' || suffix, part, capture);
    execute format('create trigger %I after update on %s referencing old table as old_rows new table as new_rows
      for each statement execute function carillon.%I()', 'carillon_update' || suffix, part, capture);
    execute format('create trigger %I after delete on %s referencing old table as old_rows
      for each statement execute function carillon.%I()', 'carillon_delete' || suffix, part, capture);
    execute format('create trigger %I after truncate on %s
      for each statement execute function carillon.%I()', 'carillon_truncate' || suffix, part, capture);
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

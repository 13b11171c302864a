-- Two roles with no more than they need. Run it as the owner of schema carillon, after the migrations and again after each upgrade:
--
--   psql "$ADMIN_URL" -f infra/postgres/roles.sql
--   alter role carillon_node login password '…';   -- for DATABASE_URL of the nodes, which then run with MIGRATE=off
--   grant carillon_app to your_application;
--
-- Migrations, and carillon.watch and carillon.unwatch, stay with the owner. Postgres itself lets every role NOTIFY any channel; what
-- comes that way is believed as INGRESS says (SECURITY.md).
begin;

do $$
begin
  if not exists (select from pg_roles where rolname = 'carillon_node') then create role carillon_node nologin; end if;
  if not exists (select from pg_roles where rolname = 'carillon_app') then create role carillon_app nologin; end if;
end $$;

-- Functions are executable by everybody unless that is taken away; a view of the schema would be enough to use them all.
revoke all on schema carillon from public;
revoke all on all tables in schema carillon from public, carillon_node, carillon_app;
revoke all on all sequences in schema carillon from public, carillon_node, carillon_app;
revoke all on all functions in schema carillon from public, carillon_node, carillon_app;

-- The node reads the outbox, moves its cursor and throws away what is old. It writes no table of yours.
grant usage on schema carillon to carillon_node;
grant select on carillon.migration, carillon.setting to carillon_node;
grant select, delete, update (xid) on carillon.outbox to carillon_node;
grant select, update on carillon.cursor to carillon_node;
grant select on sequence carillon.outbox_id_seq to carillon_node;
grant execute on function carillon.rebuild() to carillon_node;
-- Inboxes, devices and pushes are its own.
grant select, insert, update, delete on
  carillon.inbox_entry, carillon.device, carillon.push_seen, carillon.push_attempt, carillon.push_pause,
  carillon.notify_request to carillon_node;
grant usage on sequence carillon.device_revision to carillon_node;
grant execute on function
  carillon.store_event(text, text[], text, text, text, jsonb, jsonb, boolean, text), carillon.refresh(text, text, jsonb) to carillon_node;
-- The queue of pushes, where a node with FIREBASE_CREDENTIALS and MIGRATE=on has made it.
do $$
begin
  if to_regnamespace('carillon_boss') is null then return; end if;
  grant usage on schema carillon_boss to carillon_node;
  grant select, insert, update, delete on all tables in schema carillon_boss to carillon_node;
  grant execute on all functions in schema carillon_boss to carillon_node;
end $$;

-- Applications publish and notify, and see nothing of what others published or of anybody's inbox.
grant usage on schema carillon to carillon_app;
grant execute on function
  carillon.publish(text, jsonb, jsonb),
  carillon.refresh(text, text, jsonb),
  carillon.notify(text, text, text, text, jsonb),
  carillon.notify(text[], text, text, text, jsonb),
  carillon.notify(bigint[], text, text, text, jsonb) to carillon_app;

commit;

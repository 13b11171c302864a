-- What SQL has to know of the settings; written at every start with MIGRATE=on.
create table carillon.setting (
  name  text primary key,
  value text not null
);

-- Publications on their way from a transaction to the log. A row has either `payload`, or `truncated` in its place, or `raw`: the
-- text of a NOTIFY, which the bridge reads as it reads any NOTIFY.
create table carillon.outbox (
  -- Before `id`, and never taken after it: so a transaction whose xid is above one that was given out after the outbox's last id was
  -- read has only ids above that. The reader's page query rests on it.
  xid       xid8        not null default pg_current_xact_id(),
  -- In the order in which rows were written, which for two writes to one row is the order of their commits; for all others it is not.
  id        bigint      generated always as identity primary key,
  at        timestamptz not null default clock_timestamp(),
  channel   text        not null,
  scope     text,
  payload   text,
  truncated text,
  audience  text,
  raw       text,
  error     text
) with (
  -- The table is short and turns over quickly: vacuum by count, at full speed.
  autovacuum_vacuum_scale_factor = 0,
  autovacuum_vacuum_threshold = 5000,
  autovacuum_vacuum_insert_scale_factor = 0,
  autovacuum_vacuum_insert_threshold = 50000,
  autovacuum_vacuum_cost_delay = 0,
  toast.autovacuum_vacuum_scale_factor = 0,
  toast.autovacuum_vacuum_threshold = 5000,
  toast.autovacuum_vacuum_cost_delay = 0
);

create index outbox_xid_id on carillon.outbox (xid, id);

-- How far the bridge has read. All that is visible in `lo` is in the log; the window, which it is publishing, is what is visible in
-- `hi` and not in `lo`: an immutable set, so that (window_number, id) means the same row to every bridge at any time.
create table carillon.cursor (
  name              text        primary key,
  window_number     bigint      not null,
  lo                pg_snapshot not null,
  hi                pg_snapshot not null,
  -- With each snapshot the outbox's last id before it was taken, and a transaction id that was given out after. A snapshot's own xmax
  -- will not do: it is one above the last that *ended*, and others above it were under way already.
  lo_id             bigint      not null,
  hi_id             bigint      not null,
  lo_xid            xid8        not null,
  hi_xid            xid8        not null,
  -- Snapshots mean nothing in another cluster, where a dump may have carried them.
  system_identifier bigint      not null,
  updated_at        timestamptz not null default clock_timestamp()
) with (fillfactor = 50);

insert into carillon.cursor (name, window_number, lo, hi, lo_id, hi_id, lo_xid, hi_xid, system_identifier)
select 'outbox', 0, pg_current_snapshot(), pg_current_snapshot(), 0, 0, '0', '0', system_identifier from pg_control_system();

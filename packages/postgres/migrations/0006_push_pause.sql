-- Why and until when nobody sends pushes, for all nodes: to anybody (`all`), or to devices of one platform. Past `until_at` the row stays
-- until something arrives again: then few are tried at a time.
create table carillon.push_pause (
  scope    text        primary key check (scope in ('all', 'android', 'ios', 'web')),
  until_at timestamptz not null,
  cause    text        not null,
  reason   text        not null,
  -- How often in a row it was paused; each time is longer.
  times    int         not null
);

-- Before a push goes out it is looked up what became of earlier attempts at this device.
create index push_attempt_device on carillon.push_attempt (event_id, installation_id);
drop index carillon.push_attempt_event;

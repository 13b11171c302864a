-- What the notification service keeps: entries, devices, and what became of each push. packages/push is its one reader and writer.

-- What happened, once for each user whom it concerns.
create table carillon.inbox_entry (
  id          bigint      generated always as identity primary key,
  event_id    text        not null,
  user_id     text        not null,
  type        text        not null,
  title       text        not null,
  body        text        not null,
  data        jsonb       not null default '{}',
  -- Where a push says something else than the entry: {title, body, data?}.
  push        jsonb,
  created_at  timestamptz not null default clock_timestamp(),
  read_at     timestamptz,
  archived_at timestamptz,
  -- When it is to be decided which devices get a push; null once that is done, or where nobody wanted one.
  push_due_at timestamptz,
  unique (event_id, user_id)
);

create index inbox_entry_user on carillon.inbox_entry (user_id, id);
create index inbox_entry_unread on carillon.inbox_entry (user_id) where read_at is null and archived_at is null;
create index inbox_entry_due on carillon.inbox_entry (push_due_at) where push_due_at is not null;

-- Another number for each registration of a device, also of one that was deleted in between: what was asked of an earlier
-- registration says nothing about a later one.
create sequence carillon.device_revision;

create table carillon.device (
  installation_id text        primary key,
  user_id         text        not null,
  -- The session that registered it, where tokens have one: revoking that takes the device away too.
  sid             text,
  token           text,
  fid             text,
  platform        text        not null check (platform in ('android', 'ios', 'web')),
  locale          text,
  app_version     text,
  revision        bigint      not null default nextval('carillon.device_revision'),
  registered_at   timestamptz not null default clock_timestamp(),
  last_seen_at    timestamptz not null default clock_timestamp(),
  disabled_at     timestamptz,
  disabled_reason text
);

-- One address belongs to one device, whoever registered it last.
create unique index device_token on carillon.device (token) where token is not null;
create unique index device_fid on carillon.device (fid) where fid is not null;
create index device_user on carillon.device (user_id);

-- Who reported an event as shown, on which of their installations, in the foreground. Until its push is decided it matters.
create table carillon.push_seen (
  event_id        text        not null,
  user_id         text        not null,
  installation_id text        not null,
  seen_at         timestamptz not null default clock_timestamp(),
  primary key (event_id, user_id, installation_id)
);

create index push_seen_at on carillon.push_seen (seen_at);

-- One row for each attempt to reach a device, with what became of it.
create table carillon.push_attempt (
  id              bigint      generated always as identity primary key,
  event_id        text        not null,
  user_id         text        not null,
  installation_id text        not null,
  attempt         int         not null,
  outcome         text        not null,
  status          int,
  error_code      text,
  fcm_name        text,
  detail          jsonb,
  at              timestamptz not null default clock_timestamp()
);

create index push_attempt_event on carillon.push_attempt (event_id);
create index push_attempt_user on carillon.push_attempt (user_id, id);

-- Requests with an Idempotency-Key, in the same transaction as what they stored.
create table carillon.notify_request (
  key         text        primary key,
  fingerprint text        not null,
  event_id    text        not null,
  entries     int         not null,
  at          timestamptz not null default clock_timestamp()
);

create index notify_request_at on carillon.notify_request (at);

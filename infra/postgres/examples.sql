-- Example tables whose changes reach the browser. For `npm start` and compose; copy what you need into your own migrations.
-- Run it after Carillon's migrations. Running it again changes nothing.
--
-- The triggers are what you would write for plain NOTIFY: pg_notify() and json_build_object(). One line makes them durable: the
-- function's search_path has carillon_notify first, whose pg_notify() writes to Carillon's outbox in the same transaction instead of
-- sending a notification. So nothing is lost while no one listens, a payload may be larger than 7,999 bytes, and commits do not queue
-- up behind NOTIFY's lock. pg_catalog has to be named after it: left out, Postgres looks there first and finds its own pg_notify().
--
-- The modern form needs no function at all, and is used instead of such a trigger, never beside it on one table:
--   select carillon.watch('orders', 'orders');

create table if not exists messages (
  id         bigint generated always as identity primary key,
  sender     text        not null,
  recipient  text        not null,
  body       text        not null,
  created_at timestamptz not null default now()
);

create table if not exists chat_messages (
  id         bigint generated always as identity primary key,
  room       text        not null default 'lobby',
  author     text        not null,
  body       text        not null,
  created_at timestamptz not null default now()
);

create table if not exists orders (
  id         bigint generated always as identity primary key,
  customer   text           not null,
  status     text           not null default 'created',
  total      numeric(12, 2) not null default 0,
  updated_at timestamptz    not null default now()
);

-- Channel `chat`: each new or edited chat message.
create or replace function notify_chat_message() returns trigger
language plpgsql
set search_path = carillon_notify, pg_catalog, public
as $$
begin
  perform pg_notify('chat', json_build_object(
    'op', tg_op,
    -- As text: a bigint may have more digits than a JavaScript number can hold.
    'id', new.id::text,
    'room', new.room,
    'author', new.author,
    'body', new.body,
    'created_at', new.created_at
  )::text);
  return new;
end $$;

create or replace trigger chat_trigger
  after insert or update on chat_messages
  for each row execute function notify_chat_message();

-- Channel `orders`: each new order and each change of one.
create or replace function notify_order_change() returns trigger
language plpgsql
set search_path = carillon_notify, pg_catalog, public
as $$
begin
  perform pg_notify('orders', json_build_object(
    'op', tg_op,
    'id', new.id::text,
    'customer', new.customer,
    'status', new.status,
    'total', new.total::text,
    'updated_at', new.updated_at
  )::text);
  return new;
end $$;

create or replace trigger order_trigger
  after insert or update on orders
  for each row execute function notify_order_change();

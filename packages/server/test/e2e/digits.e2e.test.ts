/** Numbers keep every digit up to the text of the client's frame: of rows as strings, of JSON as the numbers that were sent. */
import { api, type PostgresServer, type RedisServer, startPostgres, startRedis, waitFor } from "@carillon/testkit";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Raw } from "./kit.ts";
import { openEar } from "./support/ear.ts";
import { accepted, openStage, type Stage } from "./support/stage.ts";

const BIG = "9007199254740993";
const NUMERIC = "-12345678901234567890123456789012345678.000000000000000000000000000100";
const JSON_TEXT =
  '{"big":9007199254740993,"more":[123456789012345678901234567890,-0,0.10,1.000,6.0221407623456789e23,1E400,1e-400],"deep":{"n":18446744073709551615}}';

let redis: RedisServer;
let postgres: PostgresServer;
let stage: Stage;
/** Each node's: what comes from the node itself, from the bus, and from its own REST. */
let frames: Raw[] = [];

beforeAll(async () => {
  [redis, postgres] = await Promise.all([startRedis(), startPostgres()]);
  stage = await openStage({ nodes: 2, redis, postgres });
  await stage.sql.query(`
    create table accounts (id bigint primary key, balance numeric, rate double precision, small int, facts jsonb);
    select carillon.watch('accounts', 'accounts');
    create table ledgers (id bigint primary key, balance numeric);
    create function notify_ledger() returns trigger language plpgsql set search_path = carillon_notify, pg_catalog, public as $$
    begin
      perform pg_notify('orders', row_to_json(new)::text);
      return new;
    end $$;
    create trigger ledger_trigger after insert on ledgers for each row execute function notify_ledger()`);
  frames = await Promise.all(stage.nodes.map(({ url }) => subscribed(url, ["accounts", "orders", "chat"])));
});
afterAll(async () => {
  for (const raw of frames) raw.close();
  await stage?.stop();
  await Promise.all([redis?.stop(), postgres?.stop()]);
});

/** A raw socket in /channels and /trips. */
async function subscribed(url: string, channels: string[]): Promise<Raw> {
  const raw = await Raw.open(url);
  raw.send("40/channels,{}");
  raw.send("40/trips,{}");
  await raw.next('42/channels,["ready"');
  await raw.next('42/trips,["ready"');
  for (const [index, channel] of channels.entries()) {
    raw.send(`42/channels,${index}["subscribe",{"channel":"${channel}"}]`);
    expect(await raw.next(`43/channels,${index}`)).toContain('"ok":true');
  }
  return raw;
}

/** The next frame with an event at each node, which must be the same text everywhere. */
async function nextFrame(prefix: string): Promise<string> {
  const [first, ...others] = await Promise.all(frames.map((raw) => raw.next(prefix)));
  for (const other of others) expect(other).toBe(first);
  return first!;
}

describe("a watched table", () => {
  test("bigint and numeric are strings with all their digits, also within the key and in what was there before", async () => {
    await stage.sql.query(
      `insert into accounts values (${BIG}, ${NUMERIC}, 0.1, 7, '${JSON_TEXT.replace("1E400,1e-400", "1")}')`,
    );
    await stage.sql.query(`update accounts set balance = balance + 0.000000000000000000000000000001 where id = ${BIG}`);

    const inserted = await nextFrame('42/channels,["notification"');
    expect(inserted).toContain(`"key":"${BIG}"`);
    expect(inserted).toContain(`"row":{"id":"${BIG}","balance":"${NUMERIC}","rate":0.1,"small":7,"facts":{`);
    expect(inserted).toContain("123456789012345678901234567890");
    const updated = await nextFrame('42/channels,["notification"');
    expect(updated).toContain(`"old":{"id":"${BIG}","balance":"${NUMERIC}"`);
    expect(updated).toContain(`"row":{"id":"${BIG}","balance":"${NUMERIC.slice(0, -3)}099"`);
  });
});

test("a trigger of one's own: numbers as Postgres prints them, untouched", async () => {
  await stage.sql.query(`insert into ledgers values (${BIG}, ${NUMERIC})`);

  expect(await nextFrame('42/channels,["notification"')).toContain(`"payload":{"id":${BIG},"balance":${NUMERIC}}`);
});

test("plain NOTIFY: untouched", async () => {
  await stage.sql.query("select pg_notify('orders', $1)", [JSON_TEXT]);

  expect(await nextFrame('42/channels,["notification"')).toContain(`"payload":${JSON_TEXT}`);
});

test("carillon.publish: as jsonb keeps them", async () => {
  await stage.sql.query(`select carillon.publish('chat', '{"big": ${BIG}, "price": 1.10, "n": ${NUMERIC}}')`);

  const frame = await nextFrame('42/channels,["notification"');
  for (const part of [`"big":${BIG}`, '"price":1.10', `"n":${NUMERIC}`]) expect(frame).toContain(part);
});

describe("REST", () => {
  const headers = { "content-type": "application/json" };

  test("a payload: untouched", async () => {
    accepted(await api(stage.url).raw("POST", "/api/notifications/chat", JSON_TEXT, headers));
    expect(await nextFrame('42/channels,["notification"')).toContain(`"payload":${JSON_TEXT}`);
  });

  test("a bare number as payload", async () => {
    accepted(await api(stage.url).raw("POST", "/api/notifications/chat", BIG, headers));
    expect(await nextFrame('42/channels,["notification"')).toContain(`"payload":${BIG},`);
  });

  test("a batch, and a refresh with a payload", async () => {
    const publications = `{"channel":"chat","payload":${JSON_TEXT}},{"channel":"trips","scope":"DIGITS","payload":${JSON_TEXT}}`;
    accepted(await api(stage.url).raw("POST", "/api/publications", `{"publications":[${publications}]}`, headers));
    expect(await nextFrame('42/channels,["notification"')).toContain(`"payload":${JSON_TEXT}`);
    expect(await nextFrame('42/trips,["refresh"')).toContain(`"payload":${JSON_TEXT}`);
  });

  test("what is read back", async () => {
    const { text } = await api(stage.url).get("/api/channels/chat/publications");
    expect(text).toContain(`"payload":${JSON_TEXT}`);
    expect(text).toContain(`"payload":${BIG},`);
  });
});

test("Redis: a refresh's payload is untouched", async () => {
  await stage.publish("refresh.trips", `{"scope":"REDIS","payload":${JSON_TEXT}}`);

  expect(await nextFrame('42/trips,["refresh"')).toContain(`"payload":${JSON_TEXT}`);
});

test("a replay from the log: untouched", async () => {
  const raw = await subscribed(stage.nodes[0]!.url, []);
  try {
    const since = JSON.parse((await api(stage.url).get("/api/channels/chat/publications?limit=1")).text).publications[0]
      .id;
    raw.send(`42/channels,8["subscribe",{"channel":"orders","since":"${since.split("-")[0]}-0"}]`);
    await waitFor(() => raw.frames.some((frame) => frame.includes(`"payload":${JSON_TEXT}`)), { what: "the replay" });
  } finally {
    raw.close();
  }
});

test("a stock client's own JSON.parse rounds what is a number, and not what is text", async () => {
  const ear = await openEar(stage.url, {
    name: "stock",
    transport: "polling",
    query: { node: "0" },
    channels: ["accounts", "chat"],
  });
  try {
    await stage.sql.query("insert into accounts (id, balance) values (9007199254740995, 0.1)");
    accepted(await api(stage.url).raw("POST", "/api/notifications/chat", BIG, { "content-type": "application/json" }));

    await waitFor(() => ear.heard.length === 2, { what: "both" });
    expect(ear.payloads("accounts")).toMatchObject([{ key: "9007199254740995" }]);
    expect(ear.payloads("chat")).toEqual([9007199254740992]);
  } finally {
    ear.close();
  }
});

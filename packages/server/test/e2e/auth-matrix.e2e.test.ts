/**
 * Who may do what, cell by cell, on every path. `+`: yes. Otherwise the code of the refusal: U UNAUTHENTICATED, E TOKEN_EXPIRED,
 * R REVOKED, F FORBIDDEN. A `hear` row is tried live on a socket, on `/ws` and on `/events`, by a replay, by a session that was resumed
 * with fewer rights, and in history; a `join` row live and resumed; a `publish` row on a socket and by REST. All of it on one node, and
 * again on three with Redis, where who publishes, who listens, and who comes back or asks are each at another node.
 */
import { api, type Client, type NodeServer, startRedis, waitFor } from "@carillon/testkit";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { now, sign } from "../auth/kit.ts";
import { away, moveTo } from "./kit.ts";
import { connectWith, OPERATOR, outcome, publish, refreshAll, startGuarded } from "./support/guarded.ts";
import { EventStream, PlainSocket, type Told } from "./support/plain.ts";

const TABLE = `
                       nobody  expired revoked plain   chatter admin   widest
enter /notifications   U       E       R       +       +       +       +
enter /trips           U       E       R       +       +       +       +
enter /users           U       E       R       F       F       +       F
enter /channels        U       E       R       +       +       +       +
enter /                U       E       R       +       +       +       +
hear trips             U       E       R       +       +       +       +
hear users             U       E       R       F       F       +       F
hear news              U       E       R       +       +       +       +
hear chat              U       E       R       F       +       F       +
hear orders.eu         U       E       R       F       +       F       +
hear orders            U       E       R       F       F       F       +
hear tenant-10         U       E       R       F       F       F       +
join trips trip:1      U       E       R       F       +       F       +
join users trip:1      U       E       R       F       F       F       F
join chat trip:1       U       E       R       F       +       F       +
join chat order:1      U       E       R       F       F       F       +
join chat admin-room   U       E       R       F       F       F       +
join trips user:7      U       E       R       F       F       F       F
join trips role:driver U       E       R       F       F       F       F
join trips tenant:t    U       E       R       F       F       F       F
publish chat           U       E       R       F       +       F       +
publish orders.eu      U       E       R       F       F       F       +
publish trips          U       E       R       F       F       F       +
refresh trips          U       E       R       F       F       F       F
batch chat             U       E       R       F       F       F       F
operate                U       E       R       F       F       +       F
`;

const CODES = { "+": "ok", U: "UNAUTHENTICATED", E: "TOKEN_EXPIRED", R: "REVOKED", F: "FORBIDDEN" } as const;
/** Before anything is revoked here, however long it all takes. */
const STARTED = now();
/** Of whom the user was before, where a session is resumed with fewer rights. */
const BEFORE = { channels: ["*"], rooms: ["*"], publish: ["*"], roles: ["admin"] };
const KINDS: Record<string, (sub: string) => Promise<string | undefined>> = {
  nobody: async () => undefined,
  expired: (sub) => sign({ sub, exp: now() - 60, ...BEFORE }),
  revoked: () => sign({ sub: "revoked", iat: STARTED - 60, ...BEFORE }),
  plain: (sub) => sign({ sub }),
  chatter: (sub) => sign({ sub, channels: ["chat", "orders.*", "tenant-1"], publish: ["chat"], rooms: ["trip:*"] }),
  admin: (sub) => sign({ sub, roles: ["admin"] }),
  widest: (sub) => sign({ sub, channels: ["*"], publish: ["*"], rooms: ["*"] }),
};

/** URLs of nodes. */
interface Stage {
  readonly publisher: string;
  readonly client: string;
  /** Where clients come back, and where history is read. */
  readonly other: string;
}
let at: Stage;
let users = 0;
const opened: { close(): void }[] = [];

afterEach(() => {
  for (const client of opened.splice(0)) client.close();
});

function open(namespace: string, token: string | undefined): Client {
  const client = connectWith(at.client, namespace, token === undefined ? {} : { token }, { reconnection: false });
  opened.push(client);
  return client;
}

type Verdict = string;
type Ask = (token: string | undefined, sub: string, argument: string[]) => Promise<Verdict>;
const verdict = (answer: { ok: boolean; error?: { code: string } }): Verdict =>
  answer.ok ? "ok" : (answer.error?.code ?? "?");
const bearer = (token: string | undefined): Record<string, string> =>
  token === undefined ? {} : { authorization: `Bearer ${token}` };
const status = (answer: { status: number; body: { code?: string } }): Verdict =>
  answer.status < 300 ? "ok" : (answer.body?.code ?? `${answer.status}`);

let published = 0;
/** What `client` heard of something that is for `room` or for everybody on a channel. */
async function hears(client: Client, channel: string, room?: string): Promise<boolean> {
  const mark = `M${published++}`;
  await say(channel, mark, room);
  await publish(at.publisher, "news", `end ${mark}`);
  await client.next("notification", ({ payload }) => payload === `end ${mark}`);
  return heard(client, mark);
}
const say = (channel: string, mark: string, room?: string): Promise<string> =>
  room === undefined && channel !== "trips" && channel !== "users"
    ? publish(at.publisher, channel, mark)
    : channel === "trips" || channel === "users"
      ? refreshAll(at.publisher, channel, mark, room === undefined ? {} : { to: { rooms: [room] } })
      : batchTo(channel, mark, room!);
async function batchTo(channel: string, payload: string, room: string): Promise<string> {
  const answer = await api(at.publisher).post(
    "/api/publications",
    { publications: [{ channel, payload, to: { rooms: [room] } }] },
    { authorization: "Bearer web-secret" },
  );
  return answer.body.results[0].id;
}
const heard = (client: Client, mark: string): boolean =>
  client.events.some(({ event, args }) => event !== "ready" && JSON.stringify(args).includes(`"${mark}"`));

async function entered(token: string | undefined): Promise<Client | Verdict> {
  const client = open("/channels", token);
  const code = await outcome(client);
  if (code !== "connected") return code;
  await client.ask("subscribe", { channel: "news" });
  return client;
}

/** Was somebody who may do everything, lost the connection, and comes back as who is asked about. */
async function resumed(
  token: string | undefined,
  sub: string,
  prepare: (client: Client) => Promise<void>,
  during: () => Promise<unknown>,
): Promise<Client | Verdict> {
  const client = open("/channels", await sign({ sub, iat: now() + 5, ...BEFORE }));
  await client.ready;
  await client.ask("subscribe", { channel: "news" });
  await publish(at.publisher, "news", "so that it has an offset");
  await client.next("notification");
  await prepare(client);
  client.socket.auth = { ...client.socket.auth, token };
  const refused = new Promise<Verdict>((resolve) =>
    client.socket.on("connect_error", (error: Error & { data?: { code?: string } }) =>
      resolve(error.data?.code ?? error.message),
    ),
  );
  moveTo(client, at.other);
  return Promise.race([away(client, during).then(() => client), refused]);
}

/** What somebody heard by then of something on `channel`: `end` is what is published last, on a channel for everybody. */
async function heardBy(
  heard: readonly Told[],
  next: PlainSocket["next"],
  channel: string,
  room?: string,
): Promise<boolean> {
  const mark = `M${published++}`;
  await say(channel, mark, room);
  await publish(at.publisher, "news", `end ${mark}`);
  await next("notification", ({ payload }) => payload === `end ${mark}`);
  return heard.some((told) => JSON.stringify(told).includes(`"${mark}"`));
}

async function plain(token: string | undefined): Promise<PlainSocket | Verdict> {
  const socket = await PlainSocket.open(at.client);
  opened.push(socket);
  socket.say({ type: "auth", token });
  const answer = await Promise.race([socket.next("ready"), socket.next("error")]);
  if (answer.type === "error") return answer.code;
  await socket.ask({ type: "subscribe", channel: "news" });
  return socket;
}
const plainVerdict = ({ type, code }: Told): Verdict => (type === "error" ? code : "ok");

async function stream(
  token: string | undefined,
  query: Record<string, string | string[]>,
): Promise<EventStream | Verdict> {
  const events = await EventStream.open(at.client, { query, headers: bearer(token) });
  opened.push(events);
  if (events.response?.status === 200) return events;
  await waitFor(() => events.ended, { what: "the refusal" });
  return JSON.parse(events.text).code;
}

const PATHS: Record<string, Record<string, Ask>> = {
  enter: {
    live: async (token, _sub, [namespace]) => {
      const code = await outcome(open(namespace!, token));
      return code === "connected" ? "ok" : code;
    },
  },
  hear: {
    live: async (token, _sub, [channel]) => {
      const client = await entered(token);
      if (typeof client === "string") return client;
      const answer = verdict(await client.ask("subscribe", { channel }));
      expect(await hears(client, channel!)).toBe(answer === "ok");
      return answer;
    },
    ws: async (token, _sub, [channel]) => {
      const socket = await plain(token);
      if (typeof socket === "string") return socket;
      const answer = plainVerdict(await socket.ask({ type: "subscribe", channel }));
      expect(await heardBy(socket.heard, socket.next, channel!)).toBe(answer === "ok");
      return answer;
    },
    events: async (token, _sub, [channel]) => {
      const events = await stream(token, { channel: ["news", channel!] });
      if (typeof events === "string") return events;
      expect(await heardBy(events.heard, events.next, channel!)).toBe(true);
      return "ok";
    },
    replay: async (token, _sub, [channel]) => {
      const mark = `M${published++}`;
      const since = await publish(at.publisher, "news", "before");
      await say(channel!, mark);
      const client = await entered(token);
      if (typeof client === "string") return client;
      const answer = verdict(await client.ask("subscribe", { channel, since }));
      await hears(client, "news");
      // What is subscribed to already is not replayed.
      if (channel !== "news") expect(heard(client, mark)).toBe(answer === "ok");
      return answer;
    },
    resumed: async (token, sub, [channel]) => {
      const mark = `M${published++}`;
      const client = await resumed(
        token,
        sub,
        async (before) => expect(verdict(await before.ask("subscribe", { channel }))).toBe("ok"),
        () => say(channel!, mark),
      );
      if (typeof client === "string") return client;
      const caughtUp = heard(client, mark);
      expect(await hears(client, channel!)).toBe(caughtUp);
      return caughtUp ? "ok" : "FORBIDDEN";
    },
    history: async (token, _sub, [channel]) => {
      const mark = `M${published++}`;
      await say(channel!, mark);
      const answer = await api(at.other).get(`/api/channels/${channel}/publications?limit=1000`, bearer(token));
      expect(answer.text.includes(mark)).toBe(answer.status === 200);
      return status(answer);
    },
  },
  join: {
    live: async (token, _sub, [channel, room]) => {
      const client = await entered(token);
      if (typeof client === "string") return client;
      await client.ask("subscribe", { channel });
      const answer = verdict(await client.ask("join", { channel, room }));
      expect(await hears(client, channel!, room)).toBe(answer === "ok");
      return answer;
    },
    ws: async (token, _sub, [channel, room]) => {
      const socket = await plain(token);
      if (typeof socket === "string") return socket;
      await socket.ask({ type: "subscribe", channel });
      const answer = plainVerdict(await socket.ask({ type: "join", channel, room }));
      expect(await heardBy(socket.heard, socket.next, channel!, room)).toBe(answer === "ok");
      return answer;
    },
    events: async (token, _sub, [channel, room]) => {
      const events = await stream(token, { channel: channel!, room: room! });
      return typeof events === "string" ? events : "ok";
    },
    resumed: async (token, sub, [channel, room]) => {
      let before = "";
      const client = await resumed(
        token,
        sub,
        async (one) => {
          await one.ask("subscribe", { channel });
          before = verdict(await one.ask("join", { channel, room }));
        },
        async () => {},
      );
      if (typeof client === "string") return client;
      await client.ask("subscribe", { channel });
      if (before !== "ok") expect(before).toBe("FORBIDDEN");
      return (await hears(client, channel!, room)) ? "ok" : "FORBIDDEN";
    },
    history: async (token, _sub, [channel, room]) => {
      const mark = `M${published++}`;
      await say(channel!, mark, room);
      const answer = await api(at.other).get(`/api/channels/${channel}/publications?limit=1000`, bearer(token));
      if (answer.status !== 200) return status(answer);
      return answer.text.includes(mark) ? "ok" : "FORBIDDEN";
    },
  },
  publish: {
    socket: async (token, _sub, [channel]) => {
      const client = await entered(token);
      return typeof client === "string" ? client : verdict(await client.ask("publish", { channel, payload: 1 }));
    },
    ws: async (token, _sub, [channel]) => {
      const socket = await plain(token);
      if (typeof socket === "string") return socket;
      return plainVerdict(await socket.ask({ type: "publish", channel, payload: 1 }));
    },
    REST: async (token, _sub, [channel]) =>
      status(await api(at.other).post(`/api/notifications/${channel}`, 1, bearer(token))),
  },
  refresh: {
    REST: async (token, _sub, [namespace]) =>
      status(await api(at.other).post(`/api/refresh/${namespace}`, { scope: "A" }, bearer(token))),
  },
  batch: {
    REST: async (token, _sub, [channel]) =>
      status(await api(at.other).post("/api/publications", { publications: [{ channel, payload: 1 }] }, bearer(token))),
  },
  operate: {
    metrics: async (token) => await api(at.other).get("/metrics", bearer(token)).then(status),
    revoke: async (token) =>
      status(await api(at.other).delete("/api/users/nobody-there/connections", undefined, bearer(token))),
  },
};

const [header = "", ...lines] = TABLE.trim().split("\n");
const kinds = header.trim().split(/\s+/);
const rows = lines.map((line) => ({ name: line.slice(0, 23).trim(), cells: line.slice(23).trim().split(/\s+/) }));

test("the table has a cell for each kind of token and a path for each action", () => {
  expect(kinds).toEqual(Object.keys(KINDS));
  for (const { name, cells } of rows)
    expect([name, cells.length, name.split(" ")[0]! in PATHS]).toEqual([name, kinds.length, true]);
});

async function startStage(nodes: number): Promise<() => Promise<unknown>> {
  const redis = nodes > 1 ? await startRedis() : undefined;
  const env = { OPERATOR_ROLE: "admin", CONNECTS_PER_S: "5000", ...(redis !== undefined && { REDIS_URL: redis.url }) };
  const started: NodeServer[] = [];
  const stop = async () => {
    await Promise.all(started.map((node) => node.stop(3000)));
    await redis?.stop();
  };
  try {
    for (let i = 0; i < nodes; i++) started.push(await startGuarded(env));
    const urls = started.map(({ url }) => url);
    const url = (index: number): string => urls[index % nodes] ?? "";
    at = { publisher: url(0), client: url(1), other: url(2) };
    await api(at.publisher).delete("/api/users/revoked/connections", undefined, OPERATOR);
    const headers = bearer(await KINDS.revoked!("revoked"));
    const isRefused = async (node: string) =>
      (await api(node).get("/api/channels/news/publications", headers)).body?.code === "REVOKED";
    await waitFor(async () => (await Promise.all(urls.map(isRefused))).every(Boolean), {
      what: "the revocation to be known at every node",
    });
  } catch (error) {
    await stop();
    throw error;
  }
  return stop;
}

describe.each([
  ["one node", 1],
  ["three nodes", 3],
] as const)("%s", (_name, nodes) => {
  let stop: (() => Promise<unknown>) | undefined;
  beforeAll(async () => {
    stop = await startStage(nodes);
  });
  afterAll(() => stop?.());

  describe.each(rows)("$name", ({ name, cells }) => {
    const [action = "", ...argument] = name.split(" ");
    test.each(kinds.map((kind, i) => [kind, CODES[cells[i] as keyof typeof CODES]] as const))(
      "%s: %s",
      async (kind, expected) => {
        const found: Record<string, Verdict> = {};
        for (const [path, ask] of Object.entries(PATHS[action]!)) {
          const sub = `u${users++}`;
          found[path] = await ask(await KINDS[kind]!(sub), sub, argument);
        }

        expect(found).toEqual(Object.fromEntries(Object.keys(found).map((path) => [path, expected])));
      },
    );
  });
});

/** Notifications from REST and SQL to inboxes, screens and, where nobody looks, pushes; on three nodes. */
import {
  api,
  type Client,
  connect,
  type PostgresServer,
  queryAt,
  type RedisServer,
  startPostgres,
  startRedis,
  waitFor,
} from "@carillon/testkit";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { openStage, type Stage } from "./support/stage.ts";

let redis: RedisServer;
let postgres: PostgresServer;
let stage: Stage;

beforeAll(async () => {
  [redis, postgres] = await Promise.all([startRedis({ appendonly: "always" }), startPostgres()]);
  stage = await openStage({
    nodes: 3,
    redis,
    postgres,
    env: { PUSH_ACK_MS: "1500", PUSH_POLICY: "ALARM=always;CHAT=user-not-foreground" },
  });
});

afterAll(async () => {
  await stage?.stop();
  await Promise.all([redis?.stop(), postgres?.stop()]);
});

let users = 0;
const newUser = () => `user-${++users}`;

const as = (user: string, node = 0) => api(stage.nodes[node]?.url ?? "", { "x-carillon-user": user });

async function register(user: string, installationId: string): Promise<void> {
  const answer = await as(user).put(`/api/devices/${installationId}`, {
    token: `token-${installationId}`,
    platform: "android",
  });
  expect(answer.status, answer.text).toBe(200);
}

async function listen(
  user: string,
  node: number,
  installationId?: string,
  namespace = "/notifications",
): Promise<Client> {
  const client = connect(stage.nodes[node]?.url ?? "", namespace, {
    transports: ["websocket"],
    auth: { user, ...(installationId !== undefined && { installationId }) },
  });
  onTestFinished(() => client.close());
  await client.ready;
  return client;
}

async function notify(body: object, node = 0): Promise<{ eventId: string; entries: number }> {
  const answer = await api(stage.nodes[node]?.url ?? "").post("/api/notify", {
    type: "SYSTEM_ALERT",
    title: "T",
    body: "B",
    ...body,
  });
  expect(answer.status, answer.text).toBe(202);
  return answer.body;
}

/** Of an event once its push is decided: the devices that would have got one. */
async function pushed(eventId: string): Promise<string[]> {
  await waitFor(
    async () => {
      const [row] = await queryAt(
        stage.databaseUrl,
        "select bool_and(push_due_at is null) as decided from carillon.inbox_entry where event_id = $1",
        [eventId],
      );
      return row?.decided === true;
    },
    { what: "the decision", timeoutMs: 30_000 },
  );
  const rows = await queryAt<{ installation_id: string; outcome: string }>(
    stage.databaseUrl,
    "select installation_id, outcome from carillon.push_attempt where event_id = $1 order by installation_id",
    [eventId],
  );
  expect(rows.every(({ outcome }) => outcome === "not_sent")).toBe(true);
  return rows.map((row) => row.installation_id);
}

const isEvent = (id: string) => (refresh: { payload?: { eventId?: string } }) => refresh.payload?.eventId === id;

test("a notification is in the inbox, on the screen of every node and pushed to who does not look", async () => {
  const [ada, bob] = [newUser(), newUser()];
  await register(ada, `${ada}-phone`);
  const [screen, stranger] = await Promise.all([listen(ada, 1), listen(bob, 2)]);

  const { eventId, entries } = await notify({ userIds: [ada], type: "TRIP_APPROVED", data: { tripId: "42" } });

  expect(entries).toBe(1);
  const heard = await screen.next("refresh", isEvent(eventId));
  expect(heard.args[0]).toEqual({ type: "REFRESH", scope: "TRIP_APPROVED", payload: { eventId } });
  const inbox = await as(ada, 2).get("/api/inbox");
  expect(inbox.body).toMatchObject({
    entries: [{ id: eventId, type: "TRIP_APPROVED", title: "T", body: "B", data: { tripId: "42" }, readAt: null }],
    cursor: null,
  });
  expect((await as(bob).get("/api/inbox")).body.entries).toEqual([]);
  expect(await pushed(eventId)).toEqual([`${ada}-phone`]);
  expect(stranger.events.filter(({ event }) => event === "refresh")).toEqual([]);
});

test("SQL notifies as REST does, and the namespace of its type is refreshed", async () => {
  const ada = newUser();
  const screen = await listen(ada, 2, undefined, "/trips");

  const [row] = await queryAt(stage.databaseUrl, "select carillon.notify(array[$1], 'TRIP_APPROVED', 'T', 'B') as id", [
    ada,
  ]);

  await screen.next("refresh", isEvent(String(row?.id)));
  expect((await as(ada).get("/api/inbox")).body.entries).toMatchObject([{ id: row?.id, type: "TRIP_APPROVED" }]);
});

test("a device that reports it as seen in the foreground is not pushed to, and the user's others are", async () => {
  const ada = newUser();
  for (const device of ["desk", "phone", "tablet", "silent"]) await register(ada, `${ada}-${device}`);
  const desk = await listen(ada, 0, `${ada}-desk`);
  const phone = await listen(ada, 1, `${ada}-phone`);
  const tablet = await listen(ada, 2, `${ada}-tablet`);
  expect(await desk.ask("state", { foreground: true })).toEqual({ ok: true });
  expect(await phone.ask("state", { foreground: false })).toEqual({ ok: true });
  for (const client of [desk, phone, tablet]) {
    client.socket.on("refresh", ({ payload }) => client.socket.emit("seen", { ids: [payload.eventId] }));
  }

  const { eventId } = await notify({ userIds: [ada] });

  expect(await pushed(eventId)).toEqual([`${ada}-phone`, `${ada}-silent`]);
});

test("by its type a notification is pushed always, or to no device once one has shown it", async () => {
  const ada = newUser();
  for (const device of ["desk", "phone"]) await register(ada, `${ada}-${device}`);
  const desk = await listen(ada, 1, `${ada}-desk`);
  desk.socket.on("refresh", ({ payload }) => desk.socket.emit("seen", { ids: [payload.eventId] }));

  const [alarm, chat] = await Promise.all([
    notify({ userIds: [ada], type: "ALARM" }),
    notify({ userIds: [ada], type: "CHAT" }),
  ]);

  expect(await pushed(alarm.eventId)).toEqual([`${ada}-desk`, `${ada}-phone`]);
  expect(await pushed(chat.eventId)).toEqual([]);
});

test("what was read in time is not pushed, and push: false never is", async () => {
  const ada = newUser();
  await register(ada, `${ada}-phone`);
  const [read, quiet] = await Promise.all([notify({ userIds: [ada] }), notify({ userIds: [ada], push: false })]);

  const marked = await as(ada, 1).post("/api/inbox/read", { ids: [read.eventId] });

  expect(marked.body).toEqual({ changed: 1 });
  expect(await pushed(read.eventId)).toEqual([]);
  expect(await pushed(quiet.eventId)).toEqual([]);
});

test("nobody can say that somebody else has seen something", async () => {
  const [ada, eve] = [newUser(), newUser()];
  await register(ada, `${ada}-phone`);
  await register(eve, `${eve}-phone`);
  const evil = await listen(eve, 0, `${ada}-phone`);
  evil.socket.on("refresh", ({ payload }) => evil.socket.emit("seen", { ids: [payload.eventId] }));

  const { eventId } = await notify({ userIds: [ada, eve] });

  expect(await pushed(eventId)).toEqual([`${ada}-phone`, `${eve}-phone`]);
});

test("every change of an inbox is told to its user's devices, and counts follow", async () => {
  const ada = newUser();
  const sent = [];
  for (const type of ["A", "B", "C"]) sent.push((await notify({ userIds: [ada], type, push: false })).eventId);
  const [a, b] = sent;
  const screen = await listen(ada, 2);
  const told = () => screen.next("refresh", ({ scope }) => scope === "INBOX_CHANGED");
  const mark = async (change: string, body?: object) => {
    const answer = await as(ada).post(`/api/inbox/${change}`, body);
    expect(answer.status, answer.text).toBe(200);
    if (answer.body.changed > 0) await told();
    return answer.body.changed;
  };
  const counts = async () => (await as(ada, 1).get("/api/inbox/counts")).body;

  expect(await mark("read", { ids: [a, b, "unknown"] })).toBe(2);
  expect(await mark("read", { ids: [a] })).toBe(0);
  expect(await counts()).toEqual({ unread: 1, total: 3, archived: 0 });
  expect(await mark("unread", { ids: [a] })).toBe(1);
  expect(await mark("archive", { ids: [b] })).toBe(1);
  expect(await counts()).toEqual({ unread: 2, total: 2, archived: 1 });
  expect(await mark("read-all")).toBe(2);
  expect(await counts()).toEqual({ unread: 0, total: 2, archived: 1 });
});

test("a publication with push is heard as what it is, with an entry and a push beside it, once however often it is sent", async () => {
  const ada = newUser();
  await register(ada, `${ada}-phone`);
  const screen = await listen(ada, 1, undefined, "/trips");
  const body = {
    scope: "TRIP_MOVED",
    to: { users: [ada] },
    push: { title: "Moved", body: "To Monday", data: { tripId: 7 } },
  };
  const key = { "idempotency-key": `key-${ada}` };

  const first = await api(stage.nodes[0]?.url ?? "").post("/api/refresh/trips", body, key);
  const again = await api(stage.nodes[1]?.url ?? "").post("/api/refresh/trips", body, key);

  expect(first.status, first.text).toBe(202);
  expect(again.body).toEqual(first.body);
  const { args } = await screen.next("refresh", ({ scope }) => scope === "TRIP_MOVED");
  const { entries } = (await as(ada).get("/api/inbox")).body;
  expect(entries).toMatchObject([
    { id: args[0].payload.eventId, type: "TRIP_MOVED", title: "Moved", data: { tripId: 7 } },
  ]);
  expect(args[1]).toBe(first.body.id);
  expect(await pushed(entries[0].id)).toEqual([`${ada}-phone`]);
});

test("an Idempotency-Key makes one notification of many requests, on whichever nodes", async () => {
  const ada = newUser();
  const body = { userIds: [ada], type: "A", title: "T", body: "B" };
  const key = { "idempotency-key": `notify-${ada}` };

  const answers = await Promise.all(
    [0, 1, 2, 0, 1, 2].map((node) => api(stage.nodes[node]?.url ?? "").post("/api/notify", body, key)),
  );
  const other = await api(stage.url).post("/api/notify", { ...body, title: "Other" }, key);

  expect(new Set(answers.map(({ text }) => text)).size).toBe(1);
  expect(answers[0]?.body).toMatchObject({ entries: 1 });
  expect(other).toMatchObject({ status: 422, body: { code: "IDEMPOTENCY_KEY_REUSED" } });
  expect((await as(ada).get("/api/inbox")).body.entries).toHaveLength(1);
});

/** What the routes of notifications, inboxes and devices take and refuse, before anything is stored. */
import { CarillonError } from "@carillon/protocol";
import type { DeviceState, InboxQuery, Notification } from "@carillon/push";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openPrincipal } from "../../src/auth/open.ts";
import type { Principal } from "../../src/auth/principal.ts";
import type { Caller, PushDeps } from "../../src/http/deps.ts";
import { callerWith, type Fixture, fixture } from "./fakes.ts";

/** Keeps what it was asked. */
class FakePush implements PushDeps {
  readonly notified: Notification[] = [];
  readonly listed: [string, InboxQuery][] = [];
  readonly registered: [string, string, DeviceState, string | undefined][] = [];
  readonly sending = undefined;
  failure: Error | undefined;

  readonly attempts: PushDeps["attempts"] = { list: async () => ({ attempts: [], cursor: null }) };
  readonly notifications: PushDeps["notifications"] = {
    notify: async (notification) => {
      if (this.failure !== undefined) throw this.failure;
      this.notified.push(notification);
      return { eventId: "an-event", entries: 1 };
    },
    alongside: async (notifications, _token, publish) => {
      const answer = await publish(notifications.map((_, n) => `event-${n}`));
      this.notified.push(...notifications);
      return answer;
    },
  };
  readonly inbox: PushDeps["inbox"] = {
    list: async (user, query) => {
      this.listed.push([user, query]);
      return { entries: [], cursor: null };
    },
    counts: async () => ({ unread: 0, total: 0, archived: 0 }),
    change: async () => 1,
    readAll: async () => 1,
  };
  readonly devices: PushDeps["devices"] = {
    register: async (user, installationId, state, sid) => {
      this.registered.push([user, installationId, state, sid]);
      return {
        installationId,
        platform: state.platform,
        locale: null,
        appVersion: null,
        reachable: true,
        registeredAt: "",
      };
    },
    remove: async () => {},
  };
}

const ada: Principal = { ...openPrincipal("ada"), kind: "user", sid: "session-1" };
const user: Caller = { name: "ada", kind: "user", principal: ada, may: () => false };
const valid = { userIds: ["42"], type: "TRIP_APPROVED", title: "T", body: "B" };

let push: FakePush;
let f: Fixture;

function serve(caller?: Caller, more: { withoutPostgres?: boolean } = {}): void {
  f = fixture({
    ...(!more.withoutPostgres && { push }),
    ...(caller !== undefined && { auth: { caller: () => caller } }),
  });
}

beforeEach(() => {
  push = new FakePush();
  serve();
});
afterEach(() => f.app.close());

async function call(method: "GET" | "POST" | "PUT" | "DELETE", url: string, body?: unknown, headers: object = {}) {
  const response = await f.app.inject({
    method,
    url,
    headers: { ...(body !== undefined && { "content-type": "application/json" }), ...headers },
    ...(body !== undefined && { payload: JSON.stringify(body) }),
  });
  return { status: response.statusCode, body: response.body === "" ? undefined : response.json() };
}

test("ids are text or whole numbers, push is wanted unless it says otherwise", async () => {
  const answer = await call("POST", "/api/notify", { ...valid, userIds: ["a", 42] });
  await call("POST", "/api/notify", { ...valid, userIds: "*", push: false });
  await call("POST", "/api/notify", { ...valid, push: { title: "Private", body: "" }, data: { a: [1] } });

  expect(answer).toEqual({ status: 202, body: { eventId: "an-event", entries: 1 } });
  expect(push.notified).toMatchObject([
    { userIds: ["a", "42"], push: true },
    { userIds: undefined, push: false },
    { push: { title: "Private", body: "" }, data: { a: [1] } },
  ]);
});

test.each<[object, string]>([
  [{ userIds: undefined }, "INVALID_REQUEST"],
  [{ userIds: [] }, "INVALID_REQUEST"],
  [{ userIds: "42" }, "INVALID_REQUEST"],
  [{ userIds: ["42", ""] }, "INVALID_ID"],
  [{ userIds: [1.5] }, "INVALID_ID"],
  [{ userIds: ["a\u0001"] }, "INVALID_ID"],
  [{ userIds: Array.from({ length: 10_001 }, (_, n) => n) }, "INVALID_REQUEST"],
  [{ type: "A B" }, "INVALID_SCOPE"],
  [{ type: "" }, "INVALID_SCOPE"],
  [{ title: "" }, "INVALID_REQUEST"],
  [{ title: "t".repeat(257) }, "INVALID_REQUEST"],
  [{ title: "\0" }, "INVALID_REQUEST"],
  [{ title: "\ud800" }, "INVALID_REQUEST"],
  [{ body: "b".repeat(2049) }, "INVALID_REQUEST"],
  [{ body: undefined }, "INVALID_REQUEST"],
  [{ data: [] }, "INVALID_REQUEST"],
  [{ data: { from: "x" } }, "INVALID_REQUEST"],
  [{ data: { notification: {} } }, "INVALID_REQUEST"],
  [{ data: { "google.a": "x" } }, "INVALID_REQUEST"],
  [{ data: { "gcm.a": "x" } }, "INVALID_REQUEST"],
  [{ data: { x: "x".repeat(2041) } }, "INVALID_REQUEST"],
  [{ push: "yes" }, "INVALID_REQUEST"],
  [{ push: { title: "T" } }, "INVALID_REQUEST"],
  [{ more: 1 }, "INVALID_REQUEST"],
])("POST /api/notify with %j is 422 %s", async (change, code) => {
  const answer = await call("POST", "/api/notify", { ...valid, ...change });

  expect(answer).toMatchObject({ status: 422, body: { code } });
  expect(push.notified).toEqual([]);
});

test("data that just fits is taken", async () => {
  expect(await call("POST", "/api/notify", { ...valid, data: { x: "x".repeat(2040) } })).toMatchObject({ status: 202 });
});

test.each<[string, Caller, number]>([
  ["a key with notify", callerWith("notify"), 202],
  ["a key with other rights", callerWith("publish", "refresh", "operate"), 403],
  ["a user", user, 403],
])("%s notifies: %d", async (_who, caller, status) => {
  serve(caller);

  expect((await call("POST", "/api/notify", valid)).status).toBe(status);
});

test("a push beside a publication needs the right to notify too", async () => {
  serve(callerWith("refresh:trips"));
  const body = { scope: "A", to: { users: ["1"] }, push: { title: "T", body: "B" } };

  expect(await call("POST", "/api/refresh/trips", body)).toMatchObject({ status: 403 });
  expect(f.publisher.drafts).toEqual([]);

  serve(callerWith("refresh:trips", "notify"));
  expect(await call("POST", "/api/refresh/trips", body)).toMatchObject({ status: 202 });
  expect(f.publisher.drafts).toEqual([
    { channel: "trips", scope: "A", payload: '{"eventId":"event-0"}', to: { users: ["1"] } },
  ]);
});

test("in a batch each publication has the entry that is its own, and one that may not push does not touch the others", async () => {
  const to = { users: ["1"] };
  const publications = [
    { channel: "chat", payload: { id: 1 }, to, push: { title: "First", body: "" } },
    { channel: "trips", scope: "A" },
    { channel: "trips", scope: "B", push: { title: "No", body: "" } },
    { channel: "trips", scope: "C", to, push: { title: "Second", body: "" } },
    { channel: "users", scope: "D", payload: 1, to, push: { title: "Third", body: "" } },
  ];

  const { body } = await call("POST", "/api/publications", { publications });

  expect(body.results.map((result: object) => Object.keys(result)[0])).toEqual(["id", "id", "error", "id", "id"]);
  expect(push.notified.map(({ title, type }) => `${type} ${title}`)).toEqual(["chat First", "C Second", "D Third"]);
  expect(f.publisher.drafts).toEqual([
    { channel: "chat", payload: '{"id":1}', to },
    { channel: "trips", scope: "A" },
    { channel: "trips", scope: "C", payload: '{"eventId":"event-1"}', to },
    { channel: "users", scope: "D", payload: "1", to },
  ]);
});

type Call = ["GET" | "POST" | "PUT" | "DELETE", string, unknown?];
const OWN: Call[] = [
  ["GET", "/api/inbox"],
  ["GET", "/api/inbox/counts"],
  ["POST", "/api/inbox/read", { ids: ["a"] }],
  ["POST", "/api/inbox/unread", { ids: ["a"] }],
  ["POST", "/api/inbox/archive", { ids: ["a"] }],
  ["POST", "/api/inbox/read-all", {}],
  ["PUT", "/api/devices/i", { platform: "web" }],
  ["DELETE", "/api/devices/i"],
];

test.each(OWN)("%s %s is a user's own", async (method, url, body) => {
  expect(await call(method, url, body)).toMatchObject({ status: 401, body: { code: "UNAUTHENTICATED" } });
  expect((await call(method, url, body, { "x-carillon-user": "ada" })).status).toBeLessThan(300);

  serve(callerWith("notify", "operate", "publish", "refresh"));
  expect(await call(method, url, body)).toMatchObject({ status: 403, body: { code: "FORBIDDEN" } });

  serve(user);
  expect((await call(method, url, body)).status).toBeLessThan(300);
});

test.each([["POST", "/api/notify", valid] as const, ...OWN])(
  "without Postgres %s %s is 501",
  async (method, url, body) => {
    serve(undefined, { withoutPostgres: true });

    const answer = await call(method, url, body, { "x-carillon-user": "ada" });

    expect(answer).toMatchObject({ status: 501, body: { code: "NOT_CONFIGURED" } });
  },
);

test.each<Call>([
  ["POST", "/api/notify", { title: 7 }],
  ["POST", "/api/push/test", {}],
  ["POST", "/api/push/redrive"],
  ...OWN.map(([method, url]): Call => [method, url]),
])("without Postgres %s %s is 501 whatever else is wrong", async (method, url, body) => {
  serve(undefined, { withoutPostgres: true });

  expect(await call(method, url, body)).toMatchObject({ status: 501, body: { code: "NOT_CONFIGURED" } });
});

test("who may not notify is told so before the body is looked at", async () => {
  serve(callerWith("publish"));

  expect(await call("POST", "/api/notify", { title: 7 })).toMatchObject({ status: 403, body: { code: "FORBIDDEN" } });
});

test("the header of JSON with nothing behind it is fine where nothing is asked for", async () => {
  const headers = { "content-type": "application/json" };

  expect(await call("POST", "/api/tickets", undefined, headers)).toMatchObject({ status: 201 });
  expect(await call("POST", "/api/inbox/read-all", undefined, { ...headers, "x-carillon-user": "ada" })).toMatchObject({
    status: 200,
  });
  expect(await call("POST", "/api/inbox/read", undefined, { ...headers, "x-carillon-user": "ada" })).toMatchObject({
    status: 400,
    body: { code: "INVALID_JSON" },
  });
});

test("a device is registered for the caller and their session, and members that nobody knows are ignored", async () => {
  serve(user);
  const state = { token: "a-token", platform: "ios", locale: "de-CH", appVersion: "2.4.1 (77)" };

  await call("PUT", "/api/devices/iPhone%20of%20Ada", { ...state, model: "x" });

  expect(push.registered).toEqual([["ada", "iPhone of Ada", state, "session-1"]]);
});

test.each([
  {},
  { platform: "windows" },
  { platform: "ios", token: "a b" },
  { platform: "ios", token: "" },
  { platform: "ios", token: "x".repeat(1025) },
  { platform: "ios", token: "a", fid: "b" },
  { platform: "ios", locale: "de ch" },
  { platform: "ios", appVersion: "\0" },
  [],
])("PUT /api/devices with %j is 422", async (body) => {
  const answer = await call("PUT", "/api/devices/i", body, { "x-carillon-user": "ada" });

  expect(answer).toMatchObject({ status: 422, body: { code: "INVALID_REQUEST" } });
});

test.each(["%00", "%7f", "x".repeat(129)])("the installation id %j is 422 INVALID_ID", async (id) => {
  const answer = await call("PUT", `/api/devices/${id}`, { platform: "web" }, { "x-carillon-user": "ada" });

  expect(answer).toMatchObject({ status: 422, body: { code: "INVALID_ID" } });
});

test("the inbox's query reaches it, with a limit that has a bound", async () => {
  serve(user);

  await call("GET", "/api/inbox");
  await call("GET", "/api/inbox?limit=7&read=false&archived=true&type=A&cursor=12");

  expect(push.listed).toEqual([
    ["ada", { limit: 50 }],
    ["ada", { limit: 7, read: false, archived: true, type: "A", cursor: "12" }],
  ]);
  for (const query of ["limit=0", "limit=201", "limit=x", "read=yes", "type=a%20b"])
    expect((await call("GET", `/api/inbox?${query}`)).status, query).toBe(422);
});

test.each([{}, { ids: [] }, { ids: [1] }, { ids: [""] }, { ids: Array(1001).fill("a") }, { ids: ["a"], all: true }])(
  "POST /api/inbox/read with %j is 422",
  async (body) => {
    expect((await call("POST", "/api/inbox/read", body, { "x-carillon-user": "ada" })).status).toBe(422);
  },
);

test("while Postgres is away the answer says to retry with the same key", async () => {
  push.failure = new CarillonError("DATABASE_UNAVAILABLE", undefined, { retryAfterS: 1 });

  const response = await f.app.inject({ method: "POST", url: "/api/notify", payload: valid });

  expect(response.statusCode).toBe(503);
  expect(response.headers["retry-after"]).toBe("1");
});

/** What a node really sends, held against the schemas of which `/asyncapi.json` is made. */

import {
  CHANNEL_NAMESPACE_REQUESTS,
  EVENT_ARGUMENTS,
  REFRESH_NAMESPACE_REQUESTS,
  type RequestShape,
  refusal,
} from "@carillon/protocol";
import { api, type NodeServer, startNode } from "@carillon/testkit";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { join, message, refresh } from "./kit.ts";

let node: NodeServer;
beforeAll(async () => {
  node = await startNode({ COALESCE_MS: "0", REFETCH_BUDGET_PER_S: "1" });
});
afterAll(() => node?.stop());

function client(namespace: string, auth: Record<string, unknown> = {}) {
  const one = join(node.url, namespace, "websocket", { auth: { user: "42", ...auth } });
  onTestFinished(() => one.close());
  return one;
}
type Event = keyof typeof EVENT_ARGUMENTS;

test("events fit their schemas, in each namespace", async () => {
  const trips = client("/trips");
  const chat = client("/channels");
  const lost = client("/channels", { offset: "1-1" });
  await Promise.all([trips.ready, chat.ready, lost.ready]);
  const first = await chat.ask("subscribe", { channel: "chat" });
  await chat.ask("subscribe", { channel: "trips" });
  await chat.ask("publish", { channel: "chat", payload: { text: "hello" } });
  await refresh(node.url, "trips", "TRIP_APPROVED", { payload: { tripId: 42 } });
  await message(node.url, "chat", null);
  await chat.next("notification", ({ payload }) => payload === null);
  await trips.next("refresh");
  const late = client("/channels");
  await late.ask("subscribe", { channel: "chat", since: first.id });
  await late.next("notification", ({ payload }) => payload === null);

  const heard = [trips, chat, lost, late].flatMap(({ events }) => events);

  expect(new Set(heard.map(({ event }) => event))).toEqual(new Set(["ready", "notification", "refresh", "gap"]));
  for (const { event, args } of heard)
    expect(EVENT_ARGUMENTS[event as Event].safeParse(args)).toMatchObject({ success: true });
});

test("for clients of one argument the id is an event of its own", async () => {
  const trips = client("/trips", { ids: "event" });
  await trips.ready;
  await refresh(node.url, "trips", "A");
  await trips.next("refresh");
  const offset = await trips.next("offset", (id) => typeof id === "string");

  expect(EVENT_ARGUMENTS.offset.safeParse(offset.args)).toMatchObject({ success: true });
  for (const { event, args } of trips.events) {
    if (event !== "offset")
      expect(EVENT_ARGUMENTS[event as Event].safeParse([...args, "1-1"])).toMatchObject({ success: true });
  }
});

const BODIES: Record<string, object> = {
  subscribe: { channel: "chat" },
  join: { channel: "chat", room: "trip:42" },
  leave: { channel: "chat", room: "trip:42" },
  publish: { channel: "chat", payload: [1] },
  state: { foreground: true },
  seen: { ids: ["1"] },
  "auth:refresh": { token: "any" },
  unsubscribe: { channel: "chat" },
};

describe.each([
  ["/trips", REFRESH_NAMESPACE_REQUESTS],
  ["/channels", CHANNEL_NAMESPACE_REQUESTS],
])("requests on %s", (namespace, shapes: Readonly<Record<string, RequestShape>>) => {
  test.each(Object.keys(shapes))("%s is answered as its schema says, and so is a refusal", async (name) => {
    const one = client(namespace);
    await one.ready;
    const { body, answer } = shapes[name]!;
    const asked = BODIES[name]!;

    const granted = await one.ask(name, asked);
    const refused = await one.ask(name, "nonsense");

    expect(body.safeParse(asked)).toMatchObject({ success: true });
    expect([granted.ok, answer.safeParse(granted)]).toMatchObject([true, { success: true }]);
    expect([refused.ok, refusal.safeParse(refused.error)]).toMatchObject([false, { success: true }]);
  });
});

test("the description is served as valid JSON for this node's address", async () => {
  const { body } = await api(node.url).get("/asyncapi.json");

  expect(body.servers.socketIo).toMatchObject({ host: `127.0.0.1:${node.port}`, protocol: "ws" });
});

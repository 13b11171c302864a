/** What a node really sends, held against the schemas of which `/asyncapi.json` is made. */

import {
  CHANNEL_NAMESPACE_REQUESTS,
  EVENT_ARGUMENTS,
  PLAIN_ANSWERS,
  PLAIN_FRAMES,
  PLAIN_REQUESTS,
  REFRESH_NAMESPACE_REQUESTS,
  type RequestShape,
  refusal,
} from "@carillon/protocol";
import { api, type NodeServer, startNode, waitFor } from "@carillon/testkit";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { WebSocket } from "ws";
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

/** Who is in no room can't leave it. */
const ORDER = ["auth", "subscribe", "join", "publish", "state", "seen", "ping", "leave", "unsubscribe"];

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

const PLAIN = Object.fromEntries(
  [...Object.values(PLAIN_FRAMES), ...Object.values(PLAIN_ANSWERS)].map((schema) => [schema.shape.type.value, schema]),
);

test("frames of a plain WebSocket fit their schemas, and each request is answered", async () => {
  const socket = new WebSocket(`${node.url.replace("http", "ws")}/ws?since=1-1`);
  onTestFinished(() => socket.terminate());
  const frames: { type: string; ref?: unknown }[] = [];
  socket.on("message", (data) => frames.push(JSON.parse(String(data))));
  await waitFor(() => frames.some(({ type }) => type === "ready"), { what: "ready" });
  const requests = Object.keys(PLAIN_REQUESTS).toSorted((a, b) => ORDER.indexOf(a) - ORDER.indexOf(b));
  const asked = requests.map((type) => ({ type, ref: type, token: "any", ...BODIES[type] }));

  for (const request of asked) socket.send(JSON.stringify(request));
  socket.send(JSON.stringify({ type: "subscribe", channel: "trips", ref: "trips" }));
  await waitFor(() => frames.some(({ ref }) => ref === "trips"), { what: "the last answer" });
  await refresh(node.url, "trips", "TRIP_APPROVED");
  socket.send("nonsense");
  await waitFor(() => frames.some(({ type }) => type === "REFRESH") && frames.some(({ type }) => type === "error"), {
    what: "the refresh and the error",
  });

  for (const request of asked)
    expect(PLAIN_REQUESTS[request.type as keyof typeof PLAIN_REQUESTS].safeParse(request)).toMatchObject({
      success: true,
    });
  for (const frame of frames) expect([frame, PLAIN[frame.type]?.safeParse(frame).success]).toEqual([frame, true]);
  expect(new Set(frames.map(({ type }) => type))).toEqual(new Set(Object.keys(PLAIN)));
  for (const type of requests) expect(frames.map(({ ref }) => ref)).toContain(type);
});

test("events of a stream fit their schemas", async () => {
  const stop = new AbortController();
  onTestFinished(() => stop.abort());
  const headers = { "last-event-id": "1-1" };
  const answer = await fetch(`${node.url}/events?channel=chat&channel=trips`, { headers, signal: stop.signal });
  let text = "";
  const reading = (async () => {
    for await (const part of answer.body!.pipeThrough(new TextDecoderStream())) text += part;
  })();
  reading.catch(() => {}); // its end is ours
  await waitFor(() => text.includes("event: ready"), { what: "ready" });
  await refresh(node.url, "trips", "TRIP_APPROVED", { payload: { tripId: 42 } });
  await message(node.url, "chat", "hello");
  await waitFor(() => text.includes('"hello"'), { what: "the message" });

  const events = [...text.matchAll(/^event: (\w+)\nid: (\S+)\ndata: (.*)\n/gm)].map(
    ([, event = "", id, data = ""]) => ({
      event: event as keyof typeof PLAIN_FRAMES,
      id,
      data: JSON.parse(data),
    }),
  );

  expect(new Set(events.map(({ event }) => event))).toEqual(new Set(Object.keys(PLAIN_FRAMES)));
  for (const { event, data } of events)
    expect([data, PLAIN_FRAMES[event].safeParse(data).success]).toEqual([data, true]);
});

test("the description is served as valid JSON for this node's address", async () => {
  const { body } = await api(node.url).get("/asyncapi.json");

  expect(body.servers.socketIo).toMatchObject({ host: `127.0.0.1:${node.port}`, protocol: "ws" });
});

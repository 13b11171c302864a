import type { JsonText, Publication } from "@carillon/protocol";
import { describe, expect, test } from "vitest";
import { entryFrame, type Frame, gapFrame, readyFrame } from "../../../src/gateway/frames.ts";
import { plainCodec } from "../../../src/gateway/plain/codec.ts";
import { PlainHub } from "../../../src/gateway/plain/hub.ts";
import { heartbeatFrame, sseCodec } from "../../../src/gateway/sse/codec.ts";

const { style: ws } = new PlainHub("ws", plainCodec);
const { style: events } = new PlainHub("events", sseCodec);
const json = (text: string) => text as JsonText;
const bytes = (frame: Frame) => Buffer.concat(frame.flatMap(({ options }) => options.wsPreEncodedFrame)).toString();
/** Of frames from 126 bytes to 64 KiB, whose header has four. */
const body = (frame: Frame) => bytes(frame).slice(bytes(frame).indexOf("{"));

const message: Publication = {
  id: "1-5",
  channel: "chat",
  payload: json('{"n":9007199254740993,"x":1.10}'),
  from: 'a"b',
  timestampMs: 0,
};
const refresh: Publication = { id: "1-6", channel: "trips", scope: "A", timestampMs: 0 };

describe("a plain WebSocket", () => {
  test("gets a message with its payload as it was published", () => {
    expect(body(entryFrame(ws, message))).toBe(
      '{"type":"notification","channel":"chat","payload":{"n":9007199254740993,"x":1.10},"id":"1-5","timestamp":"1970-01-01T00:00:00.000Z","from":"a\\"b"}',
    );
    const truncated = entryFrame(ws, { ...message, truncated: json('{"bytes":70000}') });
    expect(body(truncated)).toContain('"truncated":{"bytes":70000},"id"');
    expect(body(truncated)).not.toContain("payload");
  });

  test("gets a refresh with what there is, and in a replay where it is", () => {
    expect(body(entryFrame(ws, refresh))).toBe('{"type":"REFRESH","channel":"trips","scope":"A","id":"1-6"}');
    expect(body(entryFrame(ws, { ...refresh, payload: json("[1e400]") }, { spreadMs: 20, trailingId: "1-9" }))).toBe(
      '{"type":"REFRESH","channel":"trips","scope":"A","id":"1-6","payload":[1e400],"spreadMs":20,"position":"1-9"}',
    );
  });

  test("gets gaps of some channels, and of all", () => {
    expect(body(gapFrame(ws, ["chat"], "1-7"))).toBe('{"type":"gap","channels":["chat"],"id":"1-7"}');
    expect(body(entryFrame(ws, { gap: {}, id: "1-7", timestampMs: 0 }))).toBe('{"type":"gap","id":"1-7"}');
  });
});

describe("a stream", () => {
  test("gets the same as data, under the event's name, with the id that it comes back with", () => {
    expect(bytes(entryFrame(events, refresh))).toBe(
      'event: refresh\nid: 1-6\ndata: {"type":"REFRESH","channel":"trips","scope":"A","id":"1-6"}\n\n',
    );
    expect(bytes(entryFrame(events, message))).toMatch(/^event: notification\nid: 1-5\ndata: \{.*\}\n\n$/);
    expect(bytes(gapFrame(events, undefined, "1-7"))).toBe('event: gap\nid: 1-7\ndata: {"type":"gap","id":"1-7"}\n\n');
    expect(bytes(readyFrame(events, '{"user":null}', "1-8"))).toBe(
      'event: ready\nid: 1-8\ndata: {"type":"ready","user":null,"id":"1-8"}\n\n',
    );
  });

  test("gets heartbeats that are no events", () => {
    expect(bytes(heartbeatFrame(undefined))).toBe(":\n\n");
    expect(bytes(heartbeatFrame("1-9"))).toBe(":\nid: 1-9\n\n");
  });
});

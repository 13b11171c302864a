import { createHash } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { expect, test } from "vitest";
import { sessionIds } from "../../src/gateway/sid.ts";

const at = (localAddress: string | undefined, localPort: number | undefined) =>
  ({ socket: { localAddress, localPort } }) as IncomingMessage;
const md5 = (text: string) => createHash("md5").update(text).digest("hex");

test("off leaves the ids to Engine.IO", () => {
  expect(sessionIds("off")).toBeUndefined();
});

test.each([
  ["172.18.0.4", "172.18.0.4:3000"],
  ["::ffff:172.18.0.4", "172.18.0.4:3000"],
  ["fd00::4", "[fd00::4]:3000"],
])("auto begins with nginx's name for the address %s at which the handshake arrived", (address, endpoint) => {
  const sid = sessionIds("auto")!(at(address, 3000));

  expect(sid).toMatch(/^[0-9a-f]{32}\.[\w-]{20}$/);
  expect(sid.startsWith(`${md5(endpoint)}.`)).toBe(true);
});

test("a handshake whose socket is gone gets an id without a route", () => {
  expect(sessionIds("auto")!(at(undefined, undefined))).toMatch(/^[\w-]{20}$/);
});

test("a text is the route of every id, and no two ids are equal", () => {
  const next = sessionIds("node-1")!;
  const ids = Array.from({ length: 1000 }, () => next(at("10.0.0.1", 3000)));

  expect(ids.every((id) => /^node-1\.[\w-]{20}$/.test(id))).toBe(true);
  expect(new Set(ids).size).toBe(1000);
});

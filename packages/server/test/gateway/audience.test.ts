import type { Audience, LogEntry } from "@carillon/protocol";
import { describe, expect, test } from "vitest";
import { hears, hearsOn, targets } from "../../src/gateway/audience.ts";
import type { FrameStyle } from "../../src/gateway/frames.ts";
import { connectionOf, FakeNamespace, random } from "./fakes.ts";

const USERS = ["1", "2", "3"];
const ROLES = ["admin", "driver"];
const TENANTS = ["t", "u"];
const ROOMS = ["trip:1", "trip:2", "user:1", "role:admin", "tenant:t"];
const ENTITY_ROOMS = ["trip:1", "trip:2"];
const CHANNELS = ["trips", "users", "chat"];

describe.each([
  ["/trips", "trips"],
  ["/channels", undefined],
] as const)("in %s", (name, ownChannel) => {
  test.each([1, 2, 3, 4, 5])(
    "who hears live is exactly who hears by catching up, on random connections and entries (seed %i)",
    (seed) => {
      const { below, pick, some } = random(seed);
      const namespace = new FakeNamespace();
      const style: FrameStyle = { namespace: name, ownChannel, ids: "args" };
      const channelsHere = ownChannel === undefined ? CHANNELS : [ownChannel];
      const connections = Array.from({ length: 40 }, (_, n) =>
        connectionOf({
          id: `s${n}`,
          namespace,
          style,
          principal: { user: pick([...USERS, undefined]), roles: some(ROLES), tenant: pick([...TENANTS, undefined]) },
          channels: ownChannel === undefined ? some(CHANNELS) : [],
          rooms: channelsHere.flatMap((channel) => some(ENTITY_ROOMS).map((room) => [channel, room] as const)),
        }),
      );
      const lists = () => ({
        ...(below(2) === 0 && { users: some(USERS) }),
        ...(below(2) === 0 && { rooms: some(ROOMS) }),
      });
      let heard = 0;

      for (let n = 1; n <= 500; n++) {
        const to: Audience = {
          ...lists(),
          ...(below(3) === 0 && { roles: some(ROLES) }),
          ...(below(3) === 0 && { tenants: some(TENANTS) }),
          ...(below(2) === 0 && {
            except: { ...lists(), ...(below(2) === 0 && { sockets: some(["s1", "s2", "s3", "s4"]) }) },
          }),
        };
        const base = { id: `1-${n}`, timestampMs: 0 };
        const entry: LogEntry =
          below(10) === 0
            ? { ...base, gap: below(2) === 0 ? {} : { channels: some(CHANNELS) } }
            : { ...base, channel: pick(CHANNELS), scope: "X", ...(below(4) > 0 && { to }) };

        const live = targets(namespace as never, ownChannel, entry);
        const catchingUp = connections.filter((connection) => hears(connection, entry));

        expect(new Set(live.map(({ socket }) => socket.id)), JSON.stringify(entry)).toEqual(
          new Set(catchingUp.map(({ socket }) => socket.id)),
        );
        expect(new Set(live).size).toBe(live.length);
        for (const connection of catchingUp) {
          if ("gap" in entry) continue;
          expect(hearsOn(connection, entry.channel, entry)).toBe(true);
        }
        heard += live.length;
      }
      expect(heard).toBeGreaterThan(500);
    },
  );
});

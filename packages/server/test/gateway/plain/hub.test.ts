import { expect, test } from "vitest";
import { targets } from "../../../src/gateway/audience.ts";
import { plainCodec } from "../../../src/gateway/plain/codec.ts";
import { PlainHub } from "../../../src/gateway/plain/hub.ts";
import { channelRoom, entityRoom } from "../../../src/gateway/rooms.ts";
import { connectionOf } from "../fakes.ts";

const entry = { id: "1-5", channel: "chat", timestampMs: 0 };

test("whoever is added and in the channel's room hears it, until they leave the room or are removed", () => {
  const hub = new PlainHub("ws", plainCodec);
  const [one, two] = [hub.member(), hub.member("session")];
  hub.add(one, Object.assign(connectionOf({ style: hub.style }), { socket: one }));
  hub.add(two, Object.assign(connectionOf({ style: hub.style }), { socket: two }));
  const hear = (to?: object) =>
    targets(hub.namespace, undefined, { ...entry, ...(to !== undefined && { to }) }).map(({ socket }) => socket.id);

  expect(hear()).toEqual([]);
  one.join(channelRoom("chat"));
  two.join([channelRoom("chat"), entityRoom("chat", "r")]);
  expect(hear()).toEqual([one.id, two.id]);
  expect(hear({ rooms: ["r"] })).toEqual([two.id]);
  expect(hear({ except: { sockets: [two.id] } })).toEqual([one.id]);
  one.leave(channelRoom("chat"));
  expect(hear()).toEqual([two.id]);
  hub.remove(two);

  expect(hear()).toEqual([]);
  expect(hub.namespace.adapter.rooms.size).toBe(0);
  expect(two.rooms.size).toBe(0);
});

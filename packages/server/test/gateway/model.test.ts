/**
 * Two nodes and a few clients, by chance: publications, subscriptions that begin with `since` and end, rooms, clients that stop reading,
 * that are cut off and come back on either node, broadcasts that are lost or late, a log and a ring that reach back less than that.
 * A client that believes nothing but what it was sent says what should have come.
 */
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Client } from "./model-client.ts";
import { CHANNELS, ROOMS, turn, World } from "./model-world.ts";

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "setInterval", "clearInterval"] });
});
afterEach(() => {
  vi.useRealTimers();
});

test.each(Array.from({ length: 40 }, (_, n) => n + 1))(
  "every client hears all that it should, in order and once, or is told (seed %i)",
  async (seed) => {
    const world = new World(seed);
    world.nodes.push(await world.node("one"), await world.node("two"));
    const { below, pick } = world.chance;
    const clients = Array.from({ length: 4 }, () => new Client(world));

    const act = (client: Client) => {
      const channel = pick(CHANNELS);
      const what = below(40);
      if (!client.connected) {
        if (what < 10) void client.connect();
      } else if (what < 16) client.read(1 + below(30));
      else if (what < 22) client.subscribe(channel);
      else if (what < 25) client.unsubscribe(channel);
      else if (what < 28) client.join(channel, pick(ROOMS));
      else if (what === 28) client.cut();
    };
    for (let step = 0; step < 400; step++) {
      if (below(2) === 0) await world.publish();
      for (const client of clients) act(client);
      await world.someTurns();
      vi.advanceTimersByTime(below(30));
      if (below(10) === 0) await world.heads();
    }
    for (let step = 0; step < 2000 && !clients.every(({ settled }) => settled); step++) {
      await world.heads();
      for (const client of clients) {
        if (!client.connected) await client.connect();
        client.read(1000);
      }
      await turn();
      vi.advanceTimersByTime(20);
    }

    for (const client of clients) {
      expect(client.settled).toBe(true);
      const missing = client.missing();
      if (missing.length > 0) expect.fail(`${missing.join(", ")}\n${client.story.slice(-400).join("\n")}`);
    }
    for (const { sessions } of world.nodes) sessions.stop();
  },
);

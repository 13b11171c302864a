import { MemoryRoster, noLogger, type Roster } from "@carillon/core";
import type { JsonText, LogEntry } from "@carillon/protocol";
import { expect, test } from "vitest";
import { ChannelRates } from "../../src/cluster/channel-rates.ts";
import { Channels } from "../../src/cluster/channels.ts";
import { createMeter } from "../../src/ops/metrics.ts";

const publication = (channel: string): LogEntry => ({ id: "1-1", channel, payload: "1" as JsonText, timestampMs: 0 });
const report = (node: string, channels: [string, number][], more = false) => JSON.stringify({ node, more, channels });

/** Somebody with these subscriptions, of which those in capitals wait for their ack. */
function subscriber(...names: string[]) {
  const channels = new Map(names.map((name) => [name.toLowerCase(), { active: name === name.toLowerCase() }]));
  return { style: { ownChannel: undefined }, channels };
}

function channels(everyone: object[], records: string[] | Error = [], rates = new Map<string, number>()) {
  class Others extends MemoryRoster implements Roster {
    override async all(): Promise<string[]> {
      if (records instanceof Error) throw records;
      return records;
    }
  }
  const meter = createMeter({ nodeMetrics: false });
  const made = new Channels({
    roster: new Others(),
    name: "here",
    everyone: () => everyone as never,
    rates: { perSecond: () => rates, complete: true },
    meter,
    logger: noLogger,
  });
  return { made, meter };
}

test("rates fade over the window after the last publication", () => {
  let now = 0;
  const rates = new ChannelRates(() => now);
  for (let i = 0; i < 50; i++) rates.entry(publication("busy"));
  rates.entry({ gap: {}, id: "1-2", timestampMs: 0 });

  expect([...rates.perSecond()]).toEqual([["busy", 5]]);
  now = 15_000;
  expect(rates.perSecond().get("busy")).toBeCloseTo(2.5);
  now = 60_000;
  expect(rates.perSecond().size).toBe(0);
});

test("more channels than are counted cost no memory, and it is said that some are missing until that is over", () => {
  let now = 0;
  const rates = new ChannelRates(() => now);
  expect(rates.complete).toBe(true);

  for (let i = 0; i < 20_000; i++) rates.entry(publication(`channel-${i}`));

  expect(rates.perSecond().size).toBe(10_000);
  expect(rates.complete).toBe(false);
  now = 15_000;
  expect(rates.complete).toBe(false);
  now = 25_000;
  expect(rates.complete).toBe(true);
});

test("subscribers are added up over the nodes, and the busiest come first", async () => {
  const everyone = [
    subscriber("chat", "orders"),
    subscriber("chat", "WAITING"),
    { style: { ownChannel: "trips" }, channels: new Map() },
  ];
  const others = [
    report("a", [["orders", 3]]),
    report("here", [["stale", 9]]),
    report("b", [
      ["trips", 1],
      ["chat", 1],
    ]),
  ];
  const { made } = channels(
    everyone,
    others,
    new Map([
      ["silent", 0.5],
      ["trips", 2],
    ]),
  );

  const { channels: found, ...rest } = await made.page(0, 50);

  expect(found.map(({ channel, subscribers, perSecond }) => [channel, subscribers, perSecond])).toEqual([
    ["trips", 2, 2],
    ["silent", 0, 0.5],
    ["orders", 4, 0],
    ["chat", 3, 0],
  ]);
  expect(rest).toEqual({ total: 4, complete: true });
  expect((await made.page(1, 2)).channels.map(({ channel }) => channel)).toEqual(["silent", "orders"]);
  expect((await made.page(9, 2)).channels).toEqual([]);
});

test("what a node could not say is not hidden", async () => {
  const own = [subscriber("chat")];

  const away = await channels(own, new Error("away")).made.page(0, 10);
  const cut = await channels(own, [report("a", [["chat", 1]], true)]).made.page(0, 10);
  const odd = channels(own, ["{", report("a", [["not a channel", 1]])]);
  const unread = await odd.made.page(0, 10);

  expect([away.complete, cut.complete, unread.complete]).toEqual([false, false, false]);
  expect([away, cut, unread].map(({ channels: [first] }) => first?.subscribers)).toEqual([1, 2, 1]);
  expect(await odd.meter.read("drops")).toEqual([{ labels: { reason: "channel_report" }, value: 2 }]);
});

test("a node reports no more than its 500 largest channels", async () => {
  const roster = new MemoryRoster();
  const many = Array.from({ length: 700 }, (_, i) => subscriber(`c${i}`));
  const made = new Channels({
    roster,
    name: "here",
    everyone: () => [...many, subscriber("large"), subscriber("large")] as never,
    rates: new ChannelRates(),
    meter: createMeter({ nodeMetrics: false }),
    logger: noLogger,
  });
  made.start();
  await expect.poll(async () => (await roster.all()).length).toBe(1);

  const { channels: reported, more } = JSON.parse((await roster.all())[0]!);
  expect([reported.length, reported[0], more]).toEqual([500, ["large", 2], true]);

  await made.stop();
  expect(await roster.all()).toEqual([]);
});

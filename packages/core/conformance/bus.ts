import { formatId, type JsonText, type LogEntry, type Position } from "@carillon/protocol";
import { describe, expect, test } from "vitest";
import type { Bus, BusListener, Log } from "../src/ports.ts";
import { closing, eventually } from "./subject.ts";

export interface BusSubject {
  /** Empty, and appending to what the buses carry. */
  readonly log: Log;
  /** One or more, of as many nodes; not yet started where they need it. */
  readonly buses: readonly Bus[];
  start?(): Promise<void>;
  close?(): Promise<void>;
}

/** What every bus does, while nothing disturbs it. */
export function busConformance(name: string, make: () => Promise<BusSubject>): void {
  describe(`${name} as a bus`, () => {
    const subject = closing(make);

    test("every node hears the log's entries as the log has them", async () => {
      const { log, buses, start } = await subject();
      const heard = buses.map(record);
      await start?.();
      await eventually(() => expect(buses.every((bus) => bus.hearing)).toBe(true));

      await log.append([
        {
          draft: {
            channel: "chat",
            payload: '{"a":1.10,"t":"a\\n\\tb","é":"😀"}' as JsonText,
            from: "me",
            to: { users: ["é|1"] },
          },
        },
        { draft: { channel: "trips", scope: "TRIP_APPROVED" } },
        { draft: { gap: {} } },
      ]);
      await Promise.all(
        Array.from({ length: 300 }, (_, i) =>
          log.append([{ draft: { channel: "chat", payload: `${i}` as JsonText } }]),
        ),
      );

      const { entries } = await log.read({ ...(await log.head()), n: 0 }, 1_000);
      for (const { heard: own } of heard) await eventually(() => expect(own).toEqual(entries));
    });

    test("what a token or a fence stopped is not heard again", async () => {
      const { log, buses, start } = await subject();
      const heard = buses.map(record);
      await start?.();
      await eventually(() => expect(buses.every((bus) => bus.hearing)).toBe(true));
      const draft = { channel: "chat", scope: "S" };
      const token = { key: "k", fingerprint: "p", ttlS: 60 };
      const fence = { source: "s", position: [1, 1] as const };

      for (let i = 0; i < 3; i++)
        await log.append([
          { draft, token },
          { draft, fence },
        ]);
      await log.append([{ draft: { channel: "chat", scope: "LAST" } }]);

      for (const { heard: own } of heard) {
        await eventually(() => expect(own.map((entry) => "scope" in entry && entry.scope)).toEqual(["S", "S", "LAST"]));
      }
    });
  });
}

/** Asserts on the way that a broadcast's numbers are those of its entries. */
function record(bus: Bus): { heard: LogEntry[]; heads: Position[] } {
  const heard: LogEntry[] = [];
  const heads: Position[] = [];
  const listener: BusListener = {
    broadcast({ epoch, first, entries }) {
      expect(entries.map(({ id }) => id)).toEqual(entries.map((_, index) => formatId({ epoch, n: first + index })));
      heard.push(...entries);
    },
    head: (head) => heads.push(head),
    subscribed() {},
  };
  bus.listen(listener);
  return { heard, heads };
}

import { type Draft, type JsonText, type LogEntry, type Position, parseId } from "@carillon/protocol";
import { describe, expect, test } from "vitest";
import type { AppendRequest, AppendResult, Log } from "../src/ports.ts";
import { closing } from "./subject.ts";

export interface LogSubject {
  /** Empty. */
  readonly log: Log;
  /** Does whatever makes continuity unprovable: a new epoch has to begin. */
  restart?(): Promise<void>;
  close?(): Promise<void>;
}

/** What every log does. `make` gives a fresh, empty one each time. */
export function logConformance(name: string, make: () => Promise<LogSubject>): void {
  describe(`${name} as a log`, () => {
    const subject = closing(make);

    test("appends in order, and numbers follow without a hole", async () => {
      const { log } = await subject();

      const ids = [];
      for (let i = 0; i < 5; i++) ids.push(...positions(await log.append([draft(i), draft(i)])));

      expect(ids.map(({ n }) => n)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
      expect(new Set(ids.map(({ epoch }) => epoch)).size).toBe(1);
      expect(await log.head()).toEqual(ids.at(-1));
    });

    test("gives back what was appended, digit for digit", async () => {
      const { log } = await subject();
      const drafts: Draft[] = [
        { channel: "trips", scope: "TRIP_APPROVED" },
        { channel: "chat", payload: '{"n":9007199254740993,"t":"a\\tb\\nc","é":"😀"}' as JsonText, from: "auth0|5" },
        { channel: "chat", payload: "null" as JsonText, to: { users: ["1"], except: { sockets: ["x"] } } },
        { channel: "orders", truncated: '{"bytes":70000}' as JsonText },
        {
          channel: "orders",
          scope: "S",
          payload: '""' as JsonText,
          to: { rooms: ["trip:42"], roles: ["a"], tenants: ["b"] },
        },
      ];

      await log.append([
        ...drafts.map((item) => ({ draft: item })),
        { draft: { gap: { channels: ["chat"] } } },
        { draft: { gap: {} } },
      ]);

      const { entries } = await log.read(await start(log), 100);
      expect(entries.slice(0, 5).map(({ id, timestampMs, ...rest }) => rest)).toEqual(drafts);
      expect(entries.slice(5).map((entry) => "gap" in entry && entry.gap)).toEqual([{ channels: ["chat"] }, {}]);
      expect(entries.every(({ timestampMs }) => Math.abs(timestampMs - Date.now()) < 60_000)).toBe(true);
    });

    test("reads a page after a position, and the head with it", async () => {
      const { log } = await subject();
      await log.append(Array.from({ length: 10 }, (_, i) => draft(i)));
      const { epoch } = await log.head();

      const page = await log.read({ epoch, n: 3 }, 4);
      const rest = await log.read({ epoch, n: 7 }, 100);
      const none = await log.read({ epoch, n: 10 }, 100);

      expect(numbers(page.entries)).toEqual([4, 5, 6, 7]);
      expect(page.head).toEqual({ epoch, n: 10 });
      expect(numbers(rest.entries)).toEqual([8, 9, 10]);
      expect(none.entries).toEqual([]);
    });

    test("reads from the oldest when the position is of another epoch", async () => {
      const { log } = await subject();
      await log.append([draft(1), draft(2)]);

      const { entries, head } = await log.read({ epoch: 17, n: 2 }, 100);

      expect(numbers(entries)).toEqual([1, 2]);
      expect(head.n).toBe(2);
    });

    test("the same token gives the same id and appends nothing again", async () => {
      const { log } = await subject();
      const token = { key: "a key with spaces", fingerprint: "one print", ttlS: 60 };

      const [first] = await log.append([{ ...draft(1), token }]);
      const [again] = await log.append([{ ...draft(1), token }]);
      const together = await log.append([
        { ...draft(2), token: { ...token, key: "b" } },
        { ...draft(2), token: { ...token, key: "b" } },
      ]);

      expect(first).toMatchObject({ outcome: "appended" });
      expect(again).toEqual({ ...first, outcome: "repeated" });
      expect(together.map(({ outcome }) => outcome)).toEqual(["appended", "repeated"]);
      expect((await log.head()).n).toBe(2);
    });

    test("a token used for something else is refused, and its neighbours are not", async () => {
      const { log } = await subject();
      const token = { key: "k", fingerprint: "one", ttlS: 60 };
      await log.append([{ ...draft(1), token }]);

      const results = await log.append([draft(2), { ...draft(3), token: { ...token, fingerprint: "two" } }, draft(4)]);

      expect(results.map(({ outcome }) => outcome)).toEqual(["appended", "token-reused", "appended"]);
      expect((await log.head()).n).toBe(3);
    });

    test("a fence drops what is at or below the last position, source by source", async () => {
      const { log } = await subject();

      const outcomes = [];
      for (const [source, major, minor] of [
        ["a", 5, 1],
        ["a", 5, 1],
        ["a", 5, 0],
        ["a", 4, 9],
        ["b", 1, 0],
        ["a", 5, 2],
        ["a", 6, 0],
      ] as const) {
        outcomes.push(...(await log.append([fenced(source, major, minor)])));
      }

      expect(outcomes.map(({ outcome }) => outcome)).toEqual([
        "appended",
        "fenced",
        "fenced",
        "fenced",
        "appended",
        "appended",
        "appended",
      ]);
      expect(await log.fence("a")).toEqual([6, 0]);
      expect(await log.fence("b")).toEqual([1, 0]);
      expect(await log.fence("c")).toBeUndefined();
    });

    test("what follows one another with an equal fence position shares its verdict", async () => {
      const { log } = await subject();

      const first = await log.append([fenced("a", 1, 1), fenced("a", 1, 1), fenced("a", 1, 2), fenced("a", 1, 2)]);
      const again = await log.append([
        fenced("a", 1, 1),
        fenced("a", 1, 1),
        fenced("a", 1, 2),
        fenced("a", 1, 3),
        fenced("a", 1, 3),
      ]);

      expect(first.map(({ outcome }) => outcome)).toEqual(["appended", "appended", "appended", "appended"]);
      expect(again.map(({ outcome }) => outcome)).toEqual(["fenced", "fenced", "fenced", "appended", "appended"]);
    });

    test("equal fence positions of two calls don't share a verdict, even when they wait side by side", async () => {
      const { log } = await subject();

      const results = await Promise.all(
        Array.from({ length: 20 }, () => log.append([fenced("a", 1, 1), fenced("a", 1, 1)])),
      );

      expect(results.flat().filter(({ outcome }) => outcome === "appended")).toHaveLength(2);
    });

    test("many publications of one feed position are one, however many there are", async () => {
      const { log } = await subject();
      const position = Array.from({ length: 1_300 }, () => fenced("a", 3, 3));

      const results = await log.append([fenced("a", 3, 2), ...position]);

      expect(results.every(({ outcome }) => outcome === "appended")).toBe(true);
    });

    test("what is appended at once is whole, and in the order of each caller", async () => {
      const { log } = await subject();

      const answers = await Promise.all(
        Array.from({ length: 40 }, (_, caller) =>
          log.append(Array.from({ length: 50 }, (_, i) => draft({ caller, i }))),
        ),
      );

      const entries = await readAll(log);
      expect(numbers(entries)).toEqual(Array.from({ length: 2_000 }, (_, i) => i + 1));
      for (const [caller, results] of answers.entries()) {
        const own = entries.filter((entry) => payload(entry).caller === caller);
        expect(own.map((entry) => payload(entry).i)).toEqual(Array.from({ length: 50 }, (_, i) => i));
        expect(own.map(({ id }) => id)).toEqual(results.map((result) => "id" in result && result.id));
      }
    });

    test("appends nothing for nothing", async () => {
      const { log } = await subject();

      expect(await log.append([])).toEqual([]);
      expect((await log.head()).n).toBe(0);
    });

    test("where continuity can't be proven a higher epoch begins, and earlier positions lead to its oldest entry", async ({
      skip,
    }) => {
      const { log, restart } = await subject();
      if (restart === undefined) return skip();
      await log.append([draft(1), draft(2), draft(3)]);
      const before = await log.head();

      await restart();
      const head = await log.head();
      await log.append([draft(4)]);
      const { entries } = await log.read(before, 100);

      expect(head.epoch).toBeGreaterThan(before.epoch);
      expect(head.n).toBe(0);
      expect(entries.map(({ id }) => id)).toEqual([`${head.epoch}-1`]);
    });
  });
}

function draft(value: unknown): AppendRequest {
  return { draft: { channel: "chat", payload: JSON.stringify(value) as JsonText } };
}

function fenced(source: string, major: number, minor: number): AppendRequest {
  return { ...draft([major, minor]), fence: { source, position: [major, minor] } };
}

function positions(results: readonly AppendResult[]): Position[] {
  return results.map((result) => {
    const position = "id" in result ? parseId(result.id) : undefined;
    if (position === undefined) throw new Error(`no id in ${JSON.stringify(result)}`);
    return position;
  });
}

function numbers(entries: readonly LogEntry[]): (number | undefined)[] {
  return entries.map(({ id }) => parseId(id)?.n);
}

function payload(entry: LogEntry): { caller?: number; i?: number } {
  return "payload" in entry && entry.payload !== undefined ? JSON.parse(entry.payload) : {};
}

async function start(log: Log): Promise<Position> {
  return { epoch: (await log.head()).epoch, n: 0 };
}

async function readAll(log: Log): Promise<LogEntry[]> {
  const entries: LogEntry[] = [];
  for (let at = await start(log); ; ) {
    const page = await log.read(at, 300);
    if (page.entries.length === 0) return entries;
    entries.push(...page.entries);
    at = { epoch: at.epoch, n: entries.length };
  }
}

import { describe, expect, test } from "vitest";
import type { SessionRecord, Sessions } from "../src/ports.ts";
import { closing } from "./subject.ts";

export interface SessionsSubject {
  readonly sessions: Sessions;
  /** Another node's view of the same records; the same where there is only one node. */
  readonly elsewhere: Sessions;
  close?(): Promise<void>;
}

/** What every store of session records does. */
export function sessionsConformance(name: string, make: () => Promise<SessionsSubject>): void {
  describe(`${name} as sessions`, () => {
    const subject = closing(make);
    const record: SessionRecord = {
      sub: "auth0|5é",
      namespace: "/channels",
      rooms: [["trips", "trip:42"]],
      channels: ["chat", "orders"],
      replays: [["chat", "17-4"]],
      starts: [["chat", "17-9"]],
      quiet: [["17-4", "17-40"]],
      floor: "17-2",
    };

    test("what one node saved any node loads", async () => {
      const { sessions, elsewhere } = await subject();

      await sessions.save("pid", record);

      expect(await elsewhere.load("pid")).toEqual(record);
    });

    test("a pid that nobody saved has no record", async () => {
      const { sessions } = await subject();

      expect(await sessions.load("never")).toBeUndefined();
      expect(await sessions.load("x".repeat(10_000))).toBeUndefined();
    });

    test("the later save counts", async () => {
      const { sessions, elsewhere } = await subject();
      await sessions.save("pid", record);

      await elsewhere.save("pid", { ...record, rooms: [], channels: [] });

      expect(await sessions.load("pid")).toEqual({ ...record, rooms: [], channels: [] });
    });

    test("touching keeps records as they are and makes none", async () => {
      const { sessions } = await subject();
      await sessions.save("pid", record);

      await sessions.touch(["pid", "other", ...Array.from({ length: 1_200 }, (_, i) => `many-${i}`)]);
      await sessions.touch([]);

      expect(await sessions.load("pid")).toEqual(record);
      expect(await sessions.load("other")).toBeUndefined();
    });
  });
}

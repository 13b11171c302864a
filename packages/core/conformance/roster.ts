import { describe, expect, test } from "vitest";
import type { Roster } from "../src/ports.ts";
import { closing, eventually } from "./subject.ts";

export interface RosterSubject {
  /** One where there is only one node. */
  readonly nodes: readonly Roster[];
  close?(): Promise<void>;
}

/** What every roster does. */
export function rosterConformance(name: string, make: () => Promise<RosterSubject>): void {
  describe(`${name} as a roster`, () => {
    const subject = closing(make);

    test("the last word of each living node is read by all", async () => {
      const { nodes } = await subject();
      expect(await nodes[0]!.all()).toEqual([]);

      for (const [i, node] of nodes.entries()) {
        await node.say("before");
        await node.say(`${i} é`);
      }

      for (const node of nodes) expect((await node.all()).toSorted()).toEqual(nodes.map((_, i) => `${i} é`));
    });

    test("a node that leaves is gone at once", async () => {
      const { nodes } = await subject();
      const [node] = nodes;
      await node!.say("here");

      await node!.leave();

      expect(await node!.all()).toEqual([]);
    });

    test("a node that says nothing is gone after its time", async () => {
      const { nodes } = await subject();
      const [lives, dies] = nodes;
      if (lives === undefined || dies === undefined) return;
      await dies.say("dead");

      await eventually(async () => {
        await lives.say("alive");
        expect(await lives.all()).toEqual(["alive"]);
      });
    });
  });
}

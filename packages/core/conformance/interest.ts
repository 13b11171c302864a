import { describe, expect, test } from "vitest";
import type { InterestRegistry } from "../src/ports.ts";
import { closing, eventually } from "./subject.ts";

export interface InterestSubject {
  readonly node: InterestRegistry;
  /** The registry as the bridge's node has it; the same where there is only one node. */
  readonly bridge: InterestRegistry;
  close?(): Promise<void>;
}

/** What every interest registry does. */
export function interestConformance(name: string, make: () => Promise<InterestSubject>): void {
  describe(`${name} as an interest registry`, () => {
    const subject = closing(make);

    test("the bridge is told what a node wants, and the node what the bridge listens to", async () => {
      const { node, bridge } = await subject();
      let wantedChanged = 0;
      const confirmed: string[] = [];
      bridge.onWanted(() => wantedChanged++);
      node.onConfirmed((channels) => confirmed.push(...channels));

      await node.want(["a", "b"]);
      await eventually(() => expect(wantedChanged).toBeGreaterThan(0), 2_000);
      expect((await bridge.wanted()).toSorted()).toEqual(["a", "b"]);
      expect(await node.confirmed("a")).toBe(false);
      await bridge.confirm(["a", "b"]);

      await eventually(() => expect(confirmed.toSorted()).toEqual(["a", "b"]), 2_000);
      expect(await node.confirmed("a")).toBe(true);
      expect(await node.confirmed("c")).toBe(false);
    });
  });
}

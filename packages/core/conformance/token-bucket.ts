import { describe, expect, test } from "vitest";
import type { TokenBucket } from "../src/ports.ts";
import { closing, eventually } from "./subject.ts";

export interface TokenBucketSubject {
  /** The same bucket, of 10 tokens a second, as several nodes have it; one where there is only one node. */
  readonly nodes: readonly TokenBucket[];
  close?(): Promise<void>;
}

/** What every token bucket does. */
export function tokenBucketConformance(name: string, make: () => Promise<TokenBucketSubject>): void {
  describe(`${name} as a token bucket`, () => {
    const subject = closing(make);

    test("a second's worth goes at once, over all nodes, and then no more than trickles in", async () => {
      const { nodes } = await subject();
      const began = performance.now();
      let taken = 0;

      while (performance.now() - began < 1000) {
        for (const node of nodes) if ((await node.take(1)) === 0) taken++;
        await new Promise((resolve) => setTimeout(resolve, 5));
      }

      const seconds = (performance.now() - began) / 1000;
      expect(taken).toBeGreaterThanOrEqual(10);
      expect(taken).toBeLessThanOrEqual(10 + 10 * seconds);
    });

    test("who takes more than is there takes nothing, and is told when it may be", async () => {
      const { nodes } = await subject();
      const [node] = nodes;
      expect(await node!.take(8)).toBe(0);

      const waitMs = await node!.take(10);

      expect(waitMs).toBeGreaterThan(100);
      expect(waitMs).toBeLessThanOrEqual(800);
      await eventually(async () => expect(await node!.take(10)).toBe(0));
    });
  });
}

import { describe, expect, test } from "vitest";
import type { Lease } from "../src/ports.ts";
import { closing, eventually } from "./subject.ts";

export interface LeaseSubject {
  /** All of one name; not yet started where they need it. */
  readonly leases: readonly Lease[];
  start?(): Promise<void>;
  /** Takes away what holds the lease without its holder's doing. */
  expire?(): Promise<void>;
  close?(): Promise<void>;
}

/** What every lease does. */
export function leaseConformance(name: string, make: () => Promise<LeaseSubject>): void {
  describe(`${name} as a lease`, () => {
    const subject = closing(make);

    test("exactly one holds it, and each is told its own state", async () => {
      const { leases, start } = await subject();
      const told = leases.map(() => false);
      for (const [index, lease] of leases.entries()) {
        lease.onChange((held) => {
          told[index] = held;
        });
      }

      await start?.();

      await eventually(() => expect(leases.filter(({ held }) => held)).toHaveLength(1));
      await eventually(() => expect(told).toEqual(leases.map(({ held }) => held)));
    });

    test("who steps down is followed by another", async ({ skip }) => {
      const { leases, start } = await subject();
      if (leases.length < 2) return skip();
      await start?.();
      await eventually(() => expect(leases.filter(({ held }) => held)).toHaveLength(1));
      const first = leases.find(({ held }) => held);

      first?.stepDown();

      expect(first?.held).toBe(false);
      await eventually(() => expect(leases.filter((lease) => lease.held && lease !== first)).toHaveLength(1));
    });

    test("who gives way is followed by another", async ({ skip }) => {
      const { leases, start } = await subject();
      if (leases.length < 2) return skip();
      await start?.();
      await eventually(() => expect(leases.filter(({ held }) => held)).toHaveLength(1));
      const first = leases.find(({ held }) => held);

      first?.giveWay();

      expect(first?.held).toBe(false);
      await eventually(() => expect(leases.filter((lease) => lease.held && lease !== first)).toHaveLength(1));
    });

    test("stepping down without holding it is harmless", async ({ skip }) => {
      const { leases, start } = await subject();
      if (leases.length < 2) return skip();
      await start?.();
      await eventually(() => expect(leases.filter(({ held }) => held)).toHaveLength(1));
      const holder = leases.find(({ held }) => held);

      leases.find(({ held }) => !held)?.stepDown();

      expect(holder?.held).toBe(true);
    });
  });
}

/** Publishes at an even rate on every ingress, open-ended: what is not answered holds up its own lane, nothing else. */
import { setTimeout as sleep } from "node:timers/promises";
import type { Ingress } from "./ingress.ts";

interface Lane {
  readonly name: string;
  next: number;
  busy: Promise<void> | undefined;
}

const tickMs = 10;
/** What could not be sent because every lane waited is not made up for in a burst beyond this. */
const maxDue = 20;

export class Load {
  readonly #ingresses: readonly Ingress[];
  readonly #perMs: number;
  readonly #lanes: ReadonlyMap<Ingress, readonly Lane[]>;
  /** Which ingress is next: the one that is furthest behind its share. */
  readonly #sent = new Map<Ingress, number>();
  #timer: NodeJS.Timeout | undefined;
  #due = 0;
  #tickedAt = 0;

  constructor(ingresses: readonly Ingress[], perSecond: number) {
    this.#ingresses = ingresses;
    this.#perMs = perSecond / 1000;
    this.#lanes = new Map(
      ingresses.map((ingress) => [
        ingress,
        Array.from({ length: ingress.lanes }, (_, index) => ({
          name: `${ingress.name}${index}`,
          next: 0,
          busy: undefined,
        })),
      ]),
    );
    for (const ingress of ingresses) this.#sent.set(ingress, 0);
  }

  start(): void {
    this.#tickedAt = performance.now();
    this.#timer = setInterval(() => this.#tick(), tickMs);
  }

  /** Resolves once everything under way is answered, or `graceMs` passed. */
  async stop(graceMs: number): Promise<void> {
    clearInterval(this.#timer);
    const busy = [...this.#lanes.values()].flat().flatMap((lane) => lane.busy ?? []);
    await Promise.race([Promise.all(busy), sleep(graceMs, undefined, { ref: false })]);
  }

  #tick(): void {
    const now = performance.now();
    this.#due = Math.min(this.#due + (now - this.#tickedAt) * this.#perMs, maxDue);
    this.#tickedAt = now;
    for (; this.#due >= 1; this.#due--) this.#send();
  }

  #send(): void {
    const byShare = [...this.#ingresses].sort((a, b) => this.#share(a) - this.#share(b));
    for (const ingress of byShare) {
      const lane = this.#lanes.get(ingress)?.find(({ busy }) => busy === undefined);
      // It is behind its share for as long as it waits, and must not catch up in one go afterwards.
      this.#sent.set(ingress, (this.#sent.get(ingress) ?? 0) + 1);
      if (lane === undefined) continue;
      lane.busy = ingress.publish(`${lane.name}.${lane.next++}`).finally(() => {
        lane.busy = undefined;
      });
      return;
    }
  }

  #share(ingress: Ingress): number {
    return (this.#sent.get(ingress) ?? 0) / ingress.weight;
  }
}

import type { StartRedisOptions } from "@carillon/testkit";
import type { Drivers } from "../driver/drivers.ts";
import type { RestIngress } from "../load/rest.ts";
import type { Random } from "../random.ts";
import type { Placed, Stack } from "../stack/stack.ts";

/** What can go wrong, played in rounds while clients listen and publishers publish. */
export interface Scenario {
  readonly name: string;
  readonly about: string;
  /** Touches nothing but the run's own clients, so it can be played against any deployment. */
  readonly harmless?: true;
  readonly redis?: StartRedisOptions;
  readonly sentinel?: true;
  readonly needsPostgres?: true;
  readonly spareNodes?: number;
  readonly env?: Record<string, string>;
  /**
   * Whether the contract lets a gap be told: for a part of the log that is gone, or for what nobody heard of PUBLISH and NOTIFY,
   * which keep nothing.
   */
  readonly mayTellGaps: boolean;
  /** Redis forgets what it had, idempotency keys too: what is sent again may come again. */
  readonly losesRedisData?: true;
  /** One round; everything is whole again at its end, or about to be. */
  play(stage: Stage): Promise<void>;
}

export interface Stage {
  readonly drivers: Drivers;
  readonly rest: RestIngress;
  readonly random: Random;
  readonly short: boolean;
  /** The longest until an end of a transport notices that the other is gone. */
  readonly pingMs: number;
  /** Throws where the run has no deployment of its own: only harmless scenarios do without. */
  readonly stack: Stack;
  note(what: string): void;
  pause(ms: number): Promise<void>;
}

/** A node that runs, of those that are not spare. */
export function someNode({ stack, random }: Stage): Placed {
  return random.pick(stack.placed.filter(({ node }) => node.running));
}

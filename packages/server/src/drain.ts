import type { Logger, Meter } from "@carillon/core";
import type { Gateway } from "./gateway/gateway.ts";

export interface DrainOptions {
  readonly timeoutMs: number;
  /** Before connections are closed: for balancers that see only later that the node is not ready. */
  readonly delayMs: number;
  readonly gateway: Pick<Gateway, "closeSome" | "openTransports">;
  /** Publications that were asked for and not yet answered. */
  readonly inFlight: () => number;
  readonly meter: Meter;
  readonly logger: Logger;
}

const STEP_MS = 50;
/** Left of the time for what comes after the last client: appends, leases, connections of our own. */
const RESERVE_MS = 1500;

/**
 * Moves clients off at an even pace by closing their transports, which stock clients answer by coming back elsewhere and
 * resuming, and waits for publications that are under way.
 */
export async function drain({ timeoutMs, delayMs, gateway, inFlight, meter, logger }: DrainOptions): Promise<void> {
  const deadline = performance.now() + timeoutMs - Math.min(RESERVE_MS, timeoutMs / 2);
  meter.set("draining", 1);
  logger.info({ transports: gateway.openTransports }, "draining");
  await delay(Math.min(delayMs, timeoutMs / 2));
  // Half of the time left, so that clients which come back slowly still find the other half.
  const steps = Math.max(Math.floor((deadline - performance.now()) / 2 / STEP_MS), 1);
  const perStep = Math.max(Math.ceil(gateway.openTransports / steps), 10);
  while (gateway.openTransports > 0 && performance.now() < deadline) {
    gateway.closeSome(perStep);
    await delay(STEP_MS);
  }
  while (inFlight() > 0 && performance.now() < deadline) await delay(STEP_MS / 5);
  logger.info({ transports: gateway.openTransports, publications: inFlight() }, "drained");
}

function delay(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

import type { Logger, Meter } from "@carillon/core";
import type { Transports } from "./gateway/transports.ts";

export interface DrainOptions {
  readonly timeoutMs: number;
  /** Before connections are closed: for balancers that see only later that the node is not ready. */
  readonly delayMs: number;
  readonly transports: Pick<Transports, "closeSome" | "terminateAll" | "open">;
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
 * resuming, and waits for publications that are under way. Resolves before `timeoutMs`, whoever does not answer.
 */
export async function drain({ timeoutMs, delayMs, transports, inFlight, meter, logger }: DrainOptions): Promise<void> {
  const deadline = performance.now() + timeoutMs - Math.min(RESERVE_MS, timeoutMs / 2);
  meter.set("draining", 1);
  logger.info({ transports: transports.open }, "draining");
  await delay(Math.min(delayMs, timeoutMs / 2));
  // Half of the time left, so that clients which wait for an answer, or are slow to take their leave, have the other half.
  const paceEnds = performance.now() + (deadline - performance.now()) / 2;
  const steps = Math.max(Math.floor((paceEnds - performance.now()) / STEP_MS), 1);
  const perStep = Math.max(Math.ceil(transports.open / steps), 10);
  while (transports.open > 0 && performance.now() < deadline) {
    const patient = performance.now() < paceEnds;
    transports.closeSome(patient ? perStep : Number.POSITIVE_INFINITY, patient);
    await delay(STEP_MS);
  }
  // Whoever doesn't read or doesn't poll has not noticed so far.
  transports.terminateAll();
  while (inFlight() > 0 && performance.now() < deadline) await delay(STEP_MS / 5);
  logger.info({ transports: transports.open, publications: inFlight() }, "drained");
}

/**
 * Runs the steps of a stop in order, each for at most what is left of the time, and goes on after one that fails or hangs: Redis
 * or Postgres may be away, and what they have not been told by then they find out by themselves.
 */
export async function stopInOrder(
  steps: readonly (readonly [name: string, step: () => unknown])[],
  deadlineMs: number,
  logger: Logger,
): Promise<void> {
  for (const [index, [name, step]] of steps.entries()) {
    // An even share, so that one that hangs leaves the others theirs.
    const leftMs = Math.max((deadlineMs - performance.now()) / (steps.length - index), 20);
    try {
      const done = await Promise.race([Promise.resolve(step()).then(() => true), delay(leftMs)]);
      if (done !== true) logger.warn({ step: name }, "a step of the stop took too long");
    } catch (error) {
      logger.warn({ err: error, step: name }, "a step of the stop failed");
    }
  }
}

function delay(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

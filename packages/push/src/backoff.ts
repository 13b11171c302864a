const FIRST_MS = 1000;
const LONGEST_MS = 600_000;

/** How long to wait after so many attempts: doubling, spread by half, and never shorter than FCM asks for. */
export function backoffMs(attempts: number, retryAfterS = 0, random: () => number = Math.random): number {
  const doubled = Math.min(FIRST_MS * 2 ** Math.min(attempts, 20), LONGEST_MS);
  const asked = Math.min(retryAfterS * 1000, 24 * 3_600_000);
  // Those who were told the same time must not all come at once.
  return Math.max(doubled * (0.5 + random() / 2), asked * (1 + random() / 5));
}

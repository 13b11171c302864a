import type { FencePosition } from "./ports.ts";

/** Negative when `a` comes first, 0 when equal, positive when `b` comes first. */
export function compareFencePositions(a: FencePosition, b: FencePosition): number {
  return a[0] - b[0] || a[1] - b[1];
}

/**
 * A publication's place in the log, and a node's or a connection's position: `<epoch>-<n>`.
 *
 * Within an epoch `n` counts without holes, so that "is anything missing between these two?" is a subtraction. A new epoch
 * begins whenever continuity with the old numbers can't be proven (Redis restarted, failed over or was wiped).
 */
export interface Position {
  readonly epoch: number;
  readonly n: number;
}

/** The text form, opaque to clients. */
export type PublicationId = string;

const ID = /^(0|[1-9]\d{0,14})-(0|[1-9]\d{0,14})$/;

export function formatId(position: Position): PublicationId {
  return `${position.epoch}-${position.n}`;
}

/** `undefined` for anything that isn't an id that this product could have issued. */
export function parseId(text: unknown): Position | undefined {
  if (typeof text !== "string") return undefined;
  const match = ID.exec(text);
  if (match === null) return undefined;
  return { epoch: Number(match[1]), n: Number(match[2]) };
}

/** Negative when `a` comes first, 0 when equal, positive when `b` comes first. */
export function comparePositions(a: Position, b: Position): number {
  return a.epoch - b.epoch || a.n - b.n;
}

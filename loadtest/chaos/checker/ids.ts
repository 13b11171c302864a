/** Ids are opaque to clients; the checker looks inside, because order and coverage are what it checks. */
export function compareIds(a: string, b: string): number {
  const [epochA = 0, numberA = 0] = a.split("-").map(Number);
  const [epochB = 0, numberB = 0] = b.split("-").map(Number);
  return epochA - epochB || numberA - numberB;
}

export function laterId(a: string | undefined, b: string | undefined): string | undefined {
  if (a === undefined || b === undefined) return a ?? b;
  return compareIds(a, b) >= 0 ? a : b;
}

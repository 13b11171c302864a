/** How a publication's tag travels: in a scope or in a payload, whichever its form has. */

const tagScope = "CHAOS.";
const equalScopePrefix = "EQUAL.";

export const scopeOfTag = (tag: string): string => `${tagScope}${tag}`;
export const equalScope = (number: number): string => `${equalScopePrefix}${number}`;

export function tagOfScope(scope: unknown): string | undefined {
  return typeof scope === "string" && scope.startsWith(tagScope) ? scope.slice(tagScope.length) : undefined;
}

export function isEqualScope(scope: unknown): scope is string {
  return typeof scope === "string" && scope.startsWith(equalScopePrefix);
}

/** In a message as `tag`; in the row of a watched table's change as its column. */
export function tagOfPayload(payload: unknown): string | undefined {
  const { tag, row } = (payload ?? {}) as { tag?: unknown; row?: { tag?: unknown } | null };
  const found = tag ?? row?.tag;
  return typeof found === "string" ? found : undefined;
}

/** The last publications of a run: who hears one has heard all before it. */
export const markerLane = "marker";

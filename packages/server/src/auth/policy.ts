import { compilePattern } from "@carillon/protocol";
import type { Policy, Principal } from "./principal.ts";

export interface PolicyOptions {
  readonly namespaces: ReadonlySet<string>;
  /** Roles that may enter a refresh namespace, where it isn't for every authenticated user. */
  readonly namespaceRoles: ReadonlyMap<string, ReadonlySet<string>>;
  /** Channels for every authenticated user. */
  readonly openChannels: readonly string[];
  readonly operatorRole: string | undefined;
}

/** What tokens grant. A refresh namespace is closed by its roles on every path: as namespace, as channel, in history. */
export function tokenPolicy({
  namespaces: refresh,
  namespaceRoles,
  openChannels,
  operatorRole,
}: PolicyOptions): Policy {
  const open = openChannels.length === 0 ? () => false : compilePattern(openChannels.join("|"));

  const mayHear = ({ roles, grants }: Principal, channel: string): boolean => {
    const closedTo = namespaceRoles.get(channel);
    if (closedTo !== undefined) return roles.some((role) => closedTo.has(role));
    return refresh.has(channel) || open(channel) || grants.channels(channel);
  };
  return {
    mayHear,
    mayEnter: (principal, namespace) => !refresh.has(namespace.slice(1)) || mayHear(principal, namespace.slice(1)),
    mayJoin: (principal, channel, room) => mayHear(principal, channel) && principal.grants.rooms(room),
    mayPublish: (principal, channel) => principal.grants.publish(channel),
    mayOperate: ({ roles }) => operatorRole !== undefined && roles.includes(operatorRole),
  };
}

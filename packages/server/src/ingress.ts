/** What messages on the lossy feeds mean here: the forms of core with this deployment's namespaces, routes and limits. */
import { publicationFromNotify, refreshesFromEvent, refreshFrom } from "@carillon/core";
import { canonicalChannel, compilePattern, type Draft } from "@carillon/protocol";
import type { Settings } from "./settings/load.ts";

type Interpret = (channel: string, text: string) => readonly Draft[];

/** Counts a message that means nothing, and logs it once per channel and minute. */
export type OnNonsense = (ingress: "redis" | "postgres", channel: string) => void;

export function redisInterpreter(settings: Settings, onNonsense: OnNonsense): Interpret {
  const namespaces = new Set(settings.namespaces);
  const form = { namespaces, maxPayloadBytes: settings.maxPayloadBytes };
  const routes = settings.eventRoutes.map((route) => ({
    matches: compilePattern(route.pattern),
    namespaces: route.namespaces,
  }));
  return (channel, text) => {
    const name = channel.slice(settings.redisIngressPrefix.length);
    const canonical = canonicalChannel(name, namespaces);
    if (namespaces.has(canonical) && canonical !== name)
      return one(refreshFrom(canonical, text, form), "redis", channel, onNonsense);
    const routed = new Set(routes.filter(({ matches }) => matches(name)).flatMap((route) => [...route.namespaces]));
    return refreshesFromEvent(name, text, [...routed], form) ?? one(undefined, "redis", channel, onNonsense);
  };
}

export function notifyInterpreter(settings: Settings, onNonsense: OnNonsense): Interpret {
  const form = { namespaces: new Set(settings.namespaces), maxPayloadBytes: settings.maxPayloadBytes };
  return (channel, text) => one(publicationFromNotify(channel, text, form), "postgres", channel, onNonsense);
}

function one(
  draft: Draft | undefined,
  ingress: "redis" | "postgres",
  channel: string,
  onNonsense: OnNonsense,
): Draft[] {
  if (draft !== undefined) return [draft];
  onNonsense(ingress, channel);
  return [];
}

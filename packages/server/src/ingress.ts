/** What messages on the lossy feeds mean here: the forms of core with this deployment's namespaces, routes and limits. */
import {
  type Logger,
  type Meter,
  publicationFromNotify,
  Rarely,
  refreshesFromEvent,
  refreshFrom,
} from "@carillon/core";
import { canonicalChannel, compilePattern, type Draft } from "@carillon/protocol";
import type { Settings } from "./settings/load.ts";

const WARN_EVERY_MS = 60_000;

type Interpret = (channel: string, text: string) => readonly Draft[];

export type OnNonsense = (ingress: "redis" | "postgres", channel: string) => void;

/** Counts a message that means nothing, and logs it once per channel and minute. */
export function nonsenseReporter(meter: Pick<Meter, "count">, logger: Logger): OnNonsense {
  const rarely = new Rarely(WARN_EVERY_MS);
  return (ingress, channel) => {
    meter.count("feedDropped", 1, { feed: ingress === "redis" ? "redis" : "notify", reason: "not_understood" });
    rarely.say(`${ingress} ${channel}`, (heldBack) =>
      logger.warn({ ingress, channel, heldBack }, "a message was not understood and dropped"),
    );
  };
}

/** Whether NOTIFY on a channel is heard only while somebody subscribes to it. */
export function customChannels(settings: Settings): (channel: string) => boolean {
  const listensAlways = new Set([...settings.namespaces, ...settings.pgChannels]);
  const allowed = compilePattern(settings.pgCustomChannels);
  return (channel) => !listensAlways.has(channel) && allowed(channel);
}

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

/** Short histories for the checker's tests, without a clock: the order in which things are written is their time. */
import type { ClientHistory, HeardEvent, HistoryEvent, Publication } from "../chaos/checker/histories.ts";

let clock = 1_000;
export const tick = (): number => ++clock;

export const id = (n: number, epoch = 1): string => `${epoch}-${n}`;

/** Accepted, with the id that its ingress told. */
export function published(tag: string, n: number | undefined, rest: Partial<Publication> = {}): Publication {
  const sentAt = tick();
  return {
    tag,
    channel: "trips",
    promised: true,
    outcome: "accepted",
    ...(n !== undefined && { id: id(n) }),
    sentAt,
    answeredAt: tick(),
    ...rest,
  };
}

export function heard(tag: string, n: number | undefined, rest: Partial<HeardEvent> = {}): HeardEvent {
  return { kind: "heard", at: tick(), channel: "trips", tag, ...(n !== undefined && { id: id(n) }), ...rest };
}

export const up = (): HistoryEvent => ({ kind: "up", at: tick() });
export const down = (): HistoryEvent => ({ kind: "down", at: tick(), reason: "transport close" });
export const ready = (n: number, recovered = true, channels = ["trips"], rooms: string[] = []): HistoryEvent => ({
  kind: "ready",
  at: tick(),
  id: id(n),
  recovered,
  channels,
  rooms,
});
export const subscribed = (channel: string): HistoryEvent => ({ kind: "subscribed", at: tick(), channel });
export const joined = (room: string): HistoryEvent => ({ kind: "joined", at: tick(), room });
export const gap = (n: number | undefined, channels?: string[]): HistoryEvent => ({
  kind: "gap",
  at: tick(),
  ...(n !== undefined && { id: id(n) }),
  ...(channels && { channels }),
});

/** A client on `trips`, to which everything is owed. */
export function client(events: HistoryEvent[], rest: Partial<ClientHistory> = {}): ClientHistory {
  return { client: "c0", user: "u0", channels: ["trips"], rooms: [], owedFrom: 0, events, ...rest };
}

/**
 * One client's history, read from beginning to end: what it heard, what it was told it may have missed, and where the order or
 * the once of it broke. Knows nothing yet of what was published.
 */
import type { ClientHistory, HeardEvent, HistoryEvent } from "./histories.ts";
import { compareIds, laterId } from "./ids.ts";

export interface Offence {
  readonly at: number;
  readonly what: string;
}

/** A stretch that the client was told it may have missed. */
export interface ToldGap {
  readonly at: number;
  /** `undefined`: all of them. */
  readonly channels: readonly string[] | undefined;
  /** Ids above this and up to `to`. `from` undefined: from the beginning. */
  readonly from: string | undefined;
  /** In place of `from` on channels that the connection had not subscribed to again when it was told. */
  readonly fromOn: ReadonlyMap<string, string | undefined>;
  /** `undefined` on the stock stack, where only the time says what may be missing. */
  readonly to: string | undefined;
  /** When it last heard something before. */
  readonly sinceAt: number;
}

export interface Listening {
  /** By `keyOf`. */
  readonly heard: ReadonlyMap<string, readonly HeardEvent[]>;
  /** By `keyOf` with the scope in place of the tag. */
  readonly equal: ReadonlyMap<string, readonly HeardEvent[]>;
  readonly gaps: readonly ToldGap[];
  readonly doubledIds: readonly Offence[];
  readonly doubledPublications: readonly Offence[];
  /** Heard again because the connection broke between an event and the event that names its id (`auth.ids: "event"`). */
  readonly repeatedUnnamed: readonly Offence[];
  readonly inversions: readonly Offence[];
}

export const keyOf = (channel: string, name: string): string => `${channel} ${name}`;

/**
 * `answered` says whether a publication was accepted before its lane sent the next one. Of one that got no answer nobody knows when
 * it entered the log.
 */
export function listen(history: ClientHistory, answered: (key: string) => boolean): Listening {
  const listener = new Listener(history, answered);
  for (const event of history.events) listener.take(event);
  return listener;
}

class Listener implements Listening {
  readonly heard = new Map<string, HeardEvent[]>();
  readonly equal = new Map<string, HeardEvent[]>();
  readonly gaps: ToldGap[] = [];
  readonly doubledIds: Offence[] = [];
  readonly doubledPublications: Offence[] = [];
  readonly repeatedUnnamed: Offence[] = [];
  readonly inversions: Offence[] = [];
  readonly #history: ClientHistory;
  readonly #answered: (key: string) => boolean;
  readonly #ids = new Set<string>();
  readonly #lanes = new Map<string, number>();
  #last: string | undefined;
  #lastAt = 0;
  /** As they were when this connection began. */
  #before: { last: string | undefined; lastAt: number } = { last: undefined, lastAt: 0 };
  #isWhole = false;
  /** Channels and rooms that its client was in before and is not yet again, with the position until which it was. */
  readonly #lacking = { channels: new Map<string, string | undefined>(), rooms: new Map<string, string | undefined>() };
  /** Subscribed to on this connection: what it missed, or the gap, comes after that and before anything new. */
  readonly #acked = new Set<string>();
  #lastHeard: HeardEvent | undefined;
  /** The last event of the connection before this one. */
  #lastBefore: HeardEvent | undefined;

  constructor(history: ClientHistory, answered: (key: string) => boolean) {
    this.#history = history;
    this.#answered = answered;
  }

  take(event: HistoryEvent): void {
    switch (event.kind) {
      case "up":
        this.#before = { last: this.#last, lastAt: this.#lastAt };
        this.#isWhole = false;
        this.#lastBefore = this.#lastHeard;
        this.#acked.clear();
        break;
      case "ready":
        this.#reach(event.id, event.at, "ready");
        this.#isWhole = true;
        this.#note(this.#lacking.channels, this.#history.channels, event.channels);
        this.#note(this.#lacking.rooms, this.#history.rooms, event.rooms);
        break;
      case "subscribed":
        this.#acked.add(event.channel);
        break;
      case "joined":
        this.#lacking.rooms.delete(event.room);
        break;
      case "gap":
        this.#gap(event);
        break;
      case "heard":
        this.#heard(event);
        break;
    }
  }

  /** What it lacks already it lacks since an earlier connection. */
  #note(lacking: Map<string, string | undefined>, all: readonly string[], there: readonly string[]): void {
    for (const name of all) {
      if (there.includes(name)) lacking.delete(name);
      else if (!lacking.has(name)) lacking.set(name, this.#before.last);
    }
  }

  #settle(channel: string): void {
    if (this.#acked.has(channel)) this.#lacking.channels.delete(channel);
  }

  #gap({ at, id, channels }: HistoryEvent & { kind: "gap" }): void {
    // Before `ready`, and where it leads no further than the client is (a replay that was cut), it speaks of all that this connection
    // missed, even where part of that came first.
    const leadsOn = id === undefined || this.#last === undefined || compareIds(id, this.#last) > 0;
    const { last, lastAt } = this.#isWhole && leadsOn ? { last: this.#last, lastAt: this.#lastAt } : this.#before;
    // A room that is joined again may have missed something, which only a gap on its whole channel can tell.
    const [from = last] = this.#lacking.rooms.values();
    const fromOn = new Map([...this.#lacking.channels].filter(([channel]) => channels?.includes(channel)));
    this.gaps.push({ at, channels, from, fromOn, to: id, sinceAt: lastAt });
    for (const channel of fromOn.keys()) this.#settle(channel);
    this.#reach(id, at, "gap");
  }

  #heard(event: HeardEvent): void {
    const { at, channel, tag, equalScope, id } = event;
    const what = `${tag ?? equalScope ?? "something"} on ${channel}${id === undefined ? "" : ` (${id})`}`;
    const again = tag !== undefined && this.heard.has(keyOf(channel, tag));
    if (event.replayed !== true) {
      const sameId = id !== undefined && this.#ids.has(id);
      if (sameId) this.doubledIds.push({ at, what });
      else if (again) this.#again(event, what);
      else if (id !== undefined && this.#last !== undefined && compareIds(id, this.#last) <= 0) {
        this.inversions.push({ at, what: `${what} after ${this.#last}` });
      } else this.#checkLane(event, what);
      if (id !== undefined) this.#ids.add(id);
      this.#last = laterId(this.#last, id);
      this.#settle(channel);
    } else if (again) this.doubledPublications.push({ at, what });
    this.#lastAt = at;
    this.#lastHeard = event;
    if (tag !== undefined) append(this.heard, keyOf(channel, tag), event);
    if (equalScope !== undefined) append(this.equal, keyOf(channel, equalScope), event);
  }

  #again({ at, channel, tag = "", id }: HeardEvent, what: string): void {
    const [first] = this.heard.get(keyOf(channel, tag)) ?? [];
    const unnamed = first !== undefined && first.id === undefined && id !== undefined && first === this.#lastBefore;
    (unnamed ? this.repeatedUnnamed : this.doubledPublications).push({ at, what });
  }

  #checkLane({ at, channel, tag = "" }: HeardEvent, what: string): void {
    const [, lane, text] = /^(.+)\.(\d+)$/.exec(tag) ?? [];
    if (lane === undefined || !this.#answered(keyOf(channel, tag))) return;
    const number = Number(text);
    const latest = this.#lanes.get(lane) ?? -1;
    if (number < latest) this.inversions.push({ at, what: `${what} after ${lane}.${latest}` });
    else this.#lanes.set(lane, number);
  }

  /** A position that moves back would have the client hear again what it heard. */
  #reach(id: string | undefined, at: number, kind: string): void {
    if (id === undefined) return;
    if (this.#last !== undefined && compareIds(id, this.#last) < 0) {
      this.inversions.push({ at, what: `${kind} at ${id} after ${this.#last}` });
    }
    this.#last = laterId(this.#last, id);
  }
}

function append<T>(map: Map<string, T[]>, key: string, item: T): void {
  const list = map.get(key);
  if (list === undefined) map.set(key, [item]);
  else list.push(item);
}

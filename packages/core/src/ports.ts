/**
 * What the core needs from the outside. `@carillon/redis` and `@carillon/postgres` implement these; `memory/` has the twins for
 * a single node without Redis. Every implementation MUST pass the conformance suite of its port.
 */
import type { ChannelName, Draft, GapDraft, LogEntry, Position, PublicationId } from "@carillon/protocol";

/** A position of a source that may be read twice: window and row of the outbox, mark and index of a lossy feed. Both whole and below 2^53. */
export type FencePosition = readonly [major: number, minor: number];

export interface AppendRequest {
  readonly draft: Draft | GapDraft;
  /** The same key within `ttlS` gives the same id and publishes nothing again; another fingerprint is refused. */
  readonly token?: { readonly key: string; readonly fingerprint: string; readonly ttlS: number };
  /**
   * Dropped when `position` is at or below the last one of that source. Requests that follow one another in one call with equal
   * source and position share its verdict, so that one feed position can append several publications.
   */
  readonly fence?: { readonly source: string; readonly position: FencePosition };
}

export type AppendResult =
  | { readonly outcome: "appended" | "repeated"; readonly id: PublicationId }
  | { readonly outcome: "fenced" }
  | { readonly outcome: "token-reused" };

export interface LogRead {
  /** In order, all of one epoch: the log's current one. */
  readonly entries: readonly LogEntry[];
  readonly head: Position;
}

/** The bounded recent history, and the only place where order is made. */
export interface Log {
  /**
   * Appends in the order given and broadcasts in the same atomic step: either both happened or neither.
   * MUST be safe to send again after a lost answer when each request has a token or a fence.
   * Throws `CarillonError("BUS_UNAVAILABLE")` when it isn't known to have happened within the implementation's bound.
   */
  append(requests: readonly AppendRequest[]): Promise<AppendResult[]>;
  /** The position of the newest entry; begins a new epoch first where continuity can't be proven. */
  head(): Promise<Position>;
  /** Up to `limit` entries after `position`. When `position` is of another epoch: from the oldest of the current epoch. */
  read(after: Position, limit: number): Promise<LogRead>;
  /** The last position appended with this fence source. */
  fence(source: string): Promise<FencePosition | undefined>;
}

/** What `append` broadcasts: entries numbered `first`, `first + 1`, … */
export interface Broadcast {
  readonly epoch: number;
  readonly first: number;
  readonly entries: readonly LogEntry[];
}

export interface BusListener {
  broadcast(broadcast: Broadcast): void;
  /** Somebody, perhaps this node, saw the log's head here. */
  head(head: Position): void;
  /** The subscription was (re)made: anything may have been missed. */
  subscribed(): void;
}

/** Carries broadcasts to every node: a hint that holds the data. It may lose, double and reorder; the position repairs all three. */
export interface Bus {
  listen(listener: BusListener): void;
  /** False while nothing that others publish could be heard here. */
  readonly hearing: boolean;
}

/** Held by at most one node as far as anybody can tell. It saves work; correctness never rests on it. */
export interface Lease {
  readonly held: boolean;
  /** Called with the new state on every change. */
  onChange(listener: (held: boolean) => void): void;
  /** Gives it up so that another can take it, and does not ask for it again for a few seconds. Harmless when it isn't held. */
  stepDown(): void;
  /** The same for just as long as each of the others needs to ask for it once. */
  giveWay(): void;
}

/** So many tokens a second for all nodes together; as many gather at most. */
export interface TokenBucket {
  /** 0: `tokens`, at most a second's worth, are taken. Else none are, and how long to wait before asking again, in ms. Throws `BUS_UNAVAILABLE`. */
  take(tokens: number): Promise<number>;
}

/** Each second's beat of a lossy feed: `mark` grows; all before mark `done` is in the log. */
export interface Mark {
  readonly mark: number;
  readonly done: number;
}

export interface FeedListener {
  message(channel: string, text: string): void;
  mark(mark: Mark): void;
  /** From here on messages on this channel are heard. */
  opened(channel: string): void;
  /** From here on they are not. */
  closed(channel: string): void;
  /** Something may have been missed on every channel. */
  interrupted(): void;
}

/** A feed without memory that all its listeners hear in the same order: Redis channels, NOTIFY. */
export interface Feed {
  /** `redis` or `notify`; names its fences and its metrics. */
  readonly name: string;
  listen(listener: FeedListener): void;
  /** Puts a mark into the feed. Rejects when it can't be known to be there. */
  sendMark(mark: Mark): Promise<void>;
}

/** What a resumed connection gets back. */
export interface SessionRecord {
  readonly sub: string;
  readonly namespace: string;
  /** Entity rooms, each as `channel` and `room`. */
  readonly rooms: readonly (readonly [ChannelName, string])[];
  readonly channels: readonly ChannelName[];
  /** Channels that were replayed by `since`, with the connection's position then: until it heard a later id, a cut may have hit the replay. */
  readonly replays: readonly (readonly [ChannelName, PublicationId])[];
  /** Up to where a replay brought what a channel had, with which its client may come back at an older id. Nothing where the replay is cut. */
  readonly starts?: readonly (readonly [ChannelName, PublicationId])[];
  /**
   * What a connection that heard little needs, since its last id may be older than the log reaches: of all that was for it up to
   * `upTo`, the last event that it was written carried the id `heard`.
   *
   * A client that comes back with exactly `heard` has therefore missed nothing up to `upTo`, however it lost its connection and
   * whatever it was sent after that: it has that one, and between the two there was nothing for it. No answer of the client is
   * needed for that, and with any other offset it says nothing. Both are of one epoch, in which n has no holes, so that the log
   * proves the rest from `upTo` on. There are two stretches: the one up to now, and the last long one that ended with an event,
   * for a client that was gone already when that was sent.
   */
  readonly quiet?: readonly (readonly [heard: PublicationId, upTo: PublicationId])[];
  /** The client was told a gap up to here because its session was lost; with an older offset it did not get to hear of it. */
  readonly floor?: PublicationId;
}

/** Session records by private session id; any node can read what another wrote. */
export interface Sessions {
  /** Resolved once it would survive this node's death. */
  save(pid: string, record: SessionRecord): Promise<void>;
  load(pid: string): Promise<SessionRecord | undefined>;
  /** Keeps the records of live connections from expiring. */
  touch(pids: readonly string[]): Promise<void>;
}

/** Which channels somebody in the cluster subscribes to that need a LISTEN, and which of them are listened to. */
export interface InterestRegistry {
  want(channels: readonly ChannelName[]): Promise<void>;
  wanted(): Promise<ChannelName[]>;
  /** The bridge says: LISTEN on these holds. */
  confirm(channels: readonly ChannelName[]): Promise<void>;
  /** This node is not the bridge any more, and vouches for nothing. */
  release(): void;
  onWanted(listener: () => void): void;
  onConfirmed(listener: (channels: readonly ChannelName[]) => void): void;
  /** Whether LISTEN on this channel holds as far as is known now. */
  confirmed(channel: ChannelName): Promise<boolean>;
}

/** One client of a user: a tab, an app, a program. Its connections over one transport are one. */
export interface PresentClient {
  /** Of the device, where the client gave one. */
  readonly installationId?: string;
  /** Whether somebody looks at it; `undefined` where it never said. */
  readonly foreground: boolean | undefined;
  readonly sinceMs: number;
}

/** As it is seen over the cluster. */
export interface PresentElsewhere extends PresentClient {
  readonly node: string;
}

/** Users who are the first or the last time somewhere in the cluster. */
export interface PresenceChange {
  readonly came: readonly string[];
  readonly left: readonly string[];
}

/**
 * Which users have clients, over all nodes. Each node puts what it has and says again and again that it lives; what it put counts
 * no longer `leaseMs` after it last did, so that a node which dies takes its users along.
 *
 * One node's calls are made one after another.
 */
export interface Presence {
  readonly leaseMs: number;
  /** This node lives. False when what it put is not there, at the start or because the store lost it: it MUST put everything again. */
  beat(): Promise<boolean>;
  /**
   * All clients of these users on this node. An empty list: none, but the user may be about to come back and has not left;
   * `undefined`: none. `undefined` as the answer means the same as a false `beat`, and that nothing was put.
   */
  put(changes: ReadonlyMap<string, readonly PresentClient[] | undefined>): Promise<PresenceChange | undefined>;
  /** Clears up after dead nodes. Resolves with users who are nowhere else: each is told to one of all who ask, and once. */
  sweep(): Promise<readonly string[]>;
  /** This node goes. Others sweep after it in `graceMs`; where there is no other, it resolves with the users who left by this. */
  leave(graceMs: number): Promise<readonly string[]>;
  /** The clients of each of these users who has any, over all nodes. Throws `BUS_UNAVAILABLE`. */
  read(users: readonly string[]): Promise<ReadonlyMap<string, readonly PresentElsewhere[]>>;
}

/** What the nodes of a cluster say about themselves. Each repeats its record; one that stopped is gone within `lifetimeMs`. */
export interface Roster {
  readonly lifetimeMs: number;
  say(record: string): Promise<void>;
  /** The last record of each living node, in no order. Throws `BUS_UNAVAILABLE`. */
  all(): Promise<readonly string[]>;
  /** Takes this node's record away. */
  leave(): Promise<void>;
}

/**
 * One client in one namespace: who it is, what it hears, how far it is.
 *
 * It is `joining` until it is whole: in no room that publications go to. It is `behind` while it reads too slowly: out of those
 * rooms again, to come back the way it joined. Its position only grows, and nothing at or below it is ever written again, so
 * that no path can deliver an id twice or out of order.
 */
import { comparePositions, type Position } from "@carillon/protocol";
import type { Principal } from "../auth/principal.ts";
import type { Frame, FrameStyle } from "./frames.ts";
import type { Transport } from "./transport.ts";

export type ConnectionState = "joining" | "live" | "behind" | "closed";

/** A place in the rooms of a hub, as a Socket.IO socket is one. */
export interface Member {
  readonly id: string;
  readonly rooms: ReadonlySet<string>;
  join(rooms: string | string[]): unknown;
  leave(room: string): unknown;
  disconnect(): unknown;
}

export interface ConnectionOptions {
  readonly socket: Member;
  readonly principal: Principal;
  readonly style: FrameStyle;
  readonly transport: Transport;
  readonly installationId?: string | undefined;
  /** What else `ready` says to it. */
  readonly greeting?: Readonly<Record<string, unknown>>;
}

export interface Subscription {
  readonly release: () => void;
  /** False until the ack: nothing of the channel is delivered before, by whatever path, since a replay would deliver it again. */
  active: boolean;
  /** Where delivery starts. What is at or below it was replayed, or is none of its business; `undefined`: it came back with the connection. */
  from?: Position;
  /** Whether it started with a replay: then what is at or below `from` must not come once more after a reconnect either. */
  replayed?: boolean;
  /** What a repeated `subscribe` answers: whether the client has everything since what it named, or since before it came back. */
  recovered: boolean;
}

/** What is known of a client before it is let in. */
export interface Arrival {
  readonly from: StartingPoint;
  /** Channels that are to be told a gap whatever the log has: a replay was cut, or the subscription can't be had any more. */
  readonly cut: readonly string[];
  /** Whether it says that it was here before. */
  readonly resumes: boolean;
}

/** Where a connection starts from: nothing, an offset that it sent, or one that can't be used. */
export type StartingPoint =
  | { readonly kind: "fresh" }
  | { readonly kind: "offset"; readonly position: Position }
  | { readonly kind: "unknown"; readonly cause: "unknown_offset" | "unknown_session" };

export interface ReplayMark {
  /** The id that trailed its events: with a later one, the client has all of them. */
  readonly at: Position;
  /** Of the transport, after the last of them. */
  readonly mark: number;
}

/** Of all that was for a connection up to `upTo`, the last event that it was written carried the id `heard`. Both of one epoch. */
export interface Quiet {
  readonly heard: Position;
  readonly upTo: Position;
}

/** Stretches that are shorter are not worth being remembered: the log reaches further. */
const QUIET_MIN = 16;

/** The number of an id above every one that the log will give. */
export const BEYOND = 999_999_999_999_999;

const NONE: ReadonlyMap<string, never> = new Map<string, never>();
const NOWHERE: Position = { epoch: 0, n: 0 };
const FRESH: Arrival = { from: { kind: "fresh" }, cut: [], resumes: false };
const AT_ONCE = Promise.resolve();
const NO_GREETING = {};

export class Connection {
  readonly socket: Member;
  readonly style: FrameStyle;
  readonly transport: Transport;
  /** Which installation of the application its client says that it is: the id under which that registered for push. */
  readonly installationId: string | undefined;
  readonly greeting: Readonly<Record<string, unknown>>;
  /** Another one when the token is renewed. */
  principal: Principal;
  /** Subscribed channels. Empty on a refresh namespace, which has its own channel. */
  readonly channels = new Map<string, Subscription>();
  /**
   * What came after this may be missing in rooms and on channels that the client comes to only now: its session was not known and it
   * was told a gap up to here (with an older offset it has not heard of that), or it has no session and came back with this offset.
   */
  floor: Position | undefined;
  /** Channels that its client left since: coming to them again, it has had what came after the floor. */
  readonly left = new Set<string>();
  /** Where its client comes from. */
  arrival: Arrival = FRESH;
  state: ConnectionState = "joining";
  /** Resolved once the connection is live or closed; another promise whenever it fell behind. Never rejects. */
  whole: Promise<void> = AT_ONCE;
  #position: Position = NOWHERE;
  // Most have none, and an empty map takes as much as a small one.
  #rooms: Map<string, Set<string>> | undefined;
  #replays: Map<string, ReplayMark> | undefined;
  #told: Position | undefined;
  #quiet: Quiet | undefined;

  constructor({ socket, principal, style, transport, installationId, greeting = NO_GREETING }: ConnectionOptions) {
    this.socket = socket;
    this.principal = principal;
    this.style = style;
    this.transport = transport;
    this.installationId = installationId;
    this.greeting = greeting;
  }

  /** Asked where it may have closed while something was awaited: `state` compared twice is one comparison to the compiler. */
  get isOpen(): boolean {
    return this.state !== "closed";
  }

  get position(): Position {
    return this.#position;
  }

  /** The id that the last written event left the client with. */
  get told(): Position | undefined {
    return this.#told;
  }

  /** The last long stretch without anything for this connection that ended with an event, which its client may not have got. */
  get quiet(): Quiet | undefined {
    return this.#quiet;
  }

  /** The channel of a refresh namespace, or whether this one was subscribed to. */
  listensTo(channel: string): boolean {
    return this.style.ownChannel === undefined
      ? this.channels.get(channel)?.active === true
      : this.style.ownChannel === channel;
  }

  /** Entity rooms by channel. */
  get rooms(): ReadonlyMap<string, ReadonlySet<string>> {
    return this.#rooms ?? NONE;
  }

  /** Replays by channel, and gaps told in place of one, which the client may not have got in full. */
  get replays(): ReadonlyMap<string, ReplayMark> {
    return this.#replays ?? NONE;
  }

  addReplay(channel: string, replay: ReplayMark): void {
    this.#replays = (this.#replays ?? new Map()).set(channel, replay);
  }

  removeReplay(channel: string): void {
    this.#replays?.delete(channel);
  }

  isIn(channel: string, room: string): boolean {
    return this.rooms.get(channel)?.has(room) ?? false;
  }

  get roomCount(): number {
    let count = 0;
    for (const rooms of this.rooms.values()) count += rooms.size;
    return count;
  }

  addRoom(channel: string, room: string): void {
    this.#rooms ??= new Map();
    this.#rooms.set(channel, (this.#rooms.get(channel) ?? new Set()).add(room));
  }

  removeRoom(channel: string, room: string): void {
    const rooms = this.#rooms?.get(channel);
    rooms?.delete(room);
    if (rooms?.size === 0) this.#rooms?.delete(channel);
  }

  /** Whether an entry at `position`, on `channel` where it is of one, is still to be written here. */
  awaits(position: Position, channel?: string): boolean {
    return (
      comparePositions(position, this.#position) > 0 && (channel === undefined || this.#hearsFrom(channel, position))
    );
  }

  /** Whole up to there, with nothing to write about it. */
  moveTo(position: Position): void {
    this.#position = position;
  }

  /** Writes an entry of the log after all others before it that are for this connection. */
  deliver(frame: Frame, position: Position): void {
    const heard = this.#told;
    if (heard !== undefined && heard.epoch === position.epoch && position.n - heard.n > QUIET_MIN) {
      this.#quiet = { heard, upTo: { epoch: position.epoch, n: position.n - 1 } };
    }
    this.advance(frame, position);
  }

  /** Writes an event that moves the client's position, whatever was before it. */
  advance(frame: Frame, position: Position): void {
    this.#position = position;
    this.write(frame, position);
  }

  /** Writes an event that carries `id`, which MUST be no id that is still to be written. */
  write(frame: Frame, id: Position): void {
    this.#told = id;
    this.transport.write(frame);
  }

  #hearsFrom(channel: string, position: Position): boolean {
    if (this.style.ownChannel !== undefined) return this.style.ownChannel === channel;
    const subscription = this.channels.get(channel);
    if (subscription?.active !== true) return false;
    return subscription.from === undefined || comparePositions(position, subscription.from) > 0;
  }
}

/**
 * One client in one namespace: who it is, what it hears, how far it is.
 *
 * It is `joining` until it is whole: in no room that publications go to. It is `behind` while it reads too slowly: out of those
 * rooms again, to come back the way it joined. Its position only grows, and nothing at or below it is ever written again, so
 * that no path can deliver an id twice or out of order.
 */
import { comparePositions, type Position } from "@carillon/protocol";
import type { Socket } from "socket.io";
import type { Principal } from "../auth/principal.ts";
import type { Frame, FrameStyle } from "./frames.ts";

export type ConnectionState = "joining" | "live" | "behind" | "closed";

/** What of Engine.IO's connection is used to see whether the client reads. */
export interface EngineConnection {
  readonly readyState: string;
  readonly transport: { readonly writable: boolean; readonly name: string };
  readonly writeBuffer: readonly unknown[];
  write(data: string, options: object): void;
  close(discard?: boolean): void;
}

/** Bytes written since the transport was last able to send, for all connections on it. */
export interface Outbound {
  unsentBytes: number;
}

export interface ConnectionOptions {
  readonly socket: Socket;
  readonly principal: Principal;
  readonly style: FrameStyle;
  readonly outbound: Outbound;
}

export class Connection {
  readonly socket: Socket;
  readonly style: FrameStyle;
  readonly outbound: Outbound;
  readonly principal: Principal;
  /** Subscribed channels, each with what lets go of its interest. Empty on a refresh namespace, which has its own channel. */
  readonly channels = new Map<string, () => void>();
  /** Entity rooms by channel. */
  readonly rooms = new Map<string, Set<string>>();
  /** Channels replayed by `since`, with the connection's position then. */
  readonly replays = new Map<string, Position>();
  state: ConnectionState = "joining";
  /** Resolved once the connection is whole for the first time, or closed. */
  whole: Promise<void> = Promise.resolve();
  #position: Position = { epoch: 0, n: 0 };

  constructor({ socket, principal, style, outbound }: ConnectionOptions) {
    this.socket = socket;
    this.principal = principal;
    this.style = style;
    this.outbound = outbound;
  }

  get position(): Position {
    return this.#position;
  }

  get engine(): EngineConnection {
    return this.socket.conn as unknown as EngineConnection;
  }

  /** The channel of a refresh namespace, or whether this one was subscribed to. */
  listensTo(channel: string): boolean {
    return this.style.ownChannel === undefined ? this.channels.has(channel) : this.style.ownChannel === channel;
  }

  isIn(channel: string, room: string): boolean {
    return this.rooms.get(channel)?.has(room) ?? false;
  }

  get roomCount(): number {
    let count = 0;
    for (const rooms of this.rooms.values()) count += rooms.size;
    return count;
  }

  /** Whether an entry at `position` is still to be written here. */
  awaits(position: Position): boolean {
    return comparePositions(position, this.#position) > 0;
  }

  /** Whole up to there, with nothing to write about it. */
  moveTo(position: Position): void {
    this.#position = position;
  }

  /** Writes an event that moves the client's position. */
  advance(frame: Frame, position: Position): void {
    this.#position = position;
    this.write(frame);
  }

  write(frame: Frame): void {
    const { engine, outbound } = this;
    if (engine.transport.writable) outbound.unsentBytes = 0;
    for (const packet of frame) {
      outbound.unsentBytes += packet.text.length;
      engine.write(packet.text, packet.options);
    }
    if (engine.transport.writable) outbound.unsentBytes = 0;
  }

  /** Whether everything written has left this process. */
  get drained(): boolean {
    return this.engine.transport.writable && this.engine.writeBuffer.length === 0;
  }
}

/** What the chaos run and its driver processes say to each other. */
import type { ClientHistory } from "../checker/histories.ts";

export interface ClientSpec {
  readonly name: string;
  readonly namespace: string;
  readonly user: string;
  readonly transports: readonly ("polling" | "websocket")[];
  /** On /channels: subscribed to. Elsewhere the namespace's own. */
  readonly channels: readonly string[];
  readonly rooms: readonly string[];
  /** Asks again after each reconnect, as many applications do, or relies on what it is promised. */
  readonly asksAgain: boolean;
  /** Takes events with one argument, and ids as events of their own. */
  readonly idsAsEvents: boolean;
}

export interface Begin {
  readonly command: "begin";
  readonly url: string;
  readonly token: string | undefined;
  /** No `ready`, no ids: a connection is whole once its subscriptions are acked. */
  readonly stock: boolean;
  readonly clients: readonly ClientSpec[];
}

export type Command =
  | Begin
  /** Breaks these clients' transports, without a word to the other side. */
  | { readonly command: "cut"; readonly clients: readonly string[] }
  /** Has these clients' transports read nothing for a while. */
  | { readonly command: "stall"; readonly clients: readonly string[]; readonly ms: number }
  /** From now on markers count: a client that heard one on each of its channels is done. */
  | { readonly command: "mark" }
  | { readonly command: "finish" };

export interface Progress {
  readonly kind: "progress";
  readonly connected: number;
  readonly begun: number;
  readonly heard: number;
  readonly gaps: number;
  readonly done: number;
  /** Some of those that are not done, for a message. */
  readonly waiting: readonly string[];
}

export type Report =
  | Progress
  | { readonly kind: "history"; readonly history: ClientHistory }
  | { readonly kind: "end" };

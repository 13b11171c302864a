/**
 * Bounds on what Engine.IO and Socket.IO answer by themselves, before anything is a request: whoever asks without reading the answers,
 * or without end, is ended, and need not be anybody for either.
 */
import type { Meter } from "@carillon/core";
import type { MessageRate } from "../limits/message-rate.ts";
import type { EngineConnection, EngineTransport } from "./engine.ts";
import { transportOf } from "./socket-io-transport.ts";

export interface IncomingOptions {
  /** A transport with more unsent bytes is ended when its client sends more. */
  readonly maxUnsentBytes: number;
  /** Of asking for namespaces: each answer is an event, and each that is let in leaves a session record. */
  readonly rate: Pick<MessageRate, "take">;
  readonly meter: Pick<Meter, "count">;
}

/** The type of a Socket.IO packet that asks for a namespace. */
const CONNECT = "0";

/** Returns what watches over an Engine.IO connection that was just opened. */
export function incomingWatch({ maxUnsentBytes, rate, meter }: IncomingOptions): (engine: EngineConnection) => void {
  const probed = new WeakSet<EngineTransport>();

  // One of each for all, which Engine.IO calls as the connection's.
  function heard(this: EngineConnection, data: unknown): void {
    const transport = transportOf(this);
    if (!transport.isOpen) return;
    const isUnread = transport.unsentBytes > maxUnsentBytes;
    if (!isUnread && !(isConnect(data) && rate.take(transport).verdict === "abuse")) return;
    meter.count(isUnread ? "slowClosed" : "abuseClosed");
    transport.terminate();
  }
  function probes(transport: EngineTransport): void {
    if (!probed.has(transport)) return void probed.add(transport);
    meter.count("abuseClosed");
    transport.socket?.terminate?.();
  }

  return (engine) => {
    engine.on("data", heard);
    engine.on("upgrading", probes);
  };
}

function isConnect(data: unknown): boolean {
  return typeof data === "string" && data.startsWith(CONNECT);
}

/** What of Engine.IO's connection is used. */
export interface EngineConnection {
  readonly readyState: string;
  readonly transport: EngineTransport;
  readonly writeBuffer: readonly unknown[];
  write(data: string, options: object): void;
  close(discard?: boolean): void;
  on(event: EngineEvent, listener: (packet: EnginePacket) => void): unknown;
  /** A message arrived. */
  on(event: "data", listener: (data: unknown) => void): unknown;
  /** A transport that is to replace the present one was tried. */
  on(event: "upgrading", listener: (transport: EngineTransport) => void): unknown;
}

export type EngineEvent = "packetCreate" | "flush" | "heartbeat" | "close";

/** Its present transport: another one after an upgrade. */
export interface EngineTransport {
  writable: boolean;
  readonly name: string;
  readonly perMessageDeflate?: unknown;
  /** The WebSocket. */
  readonly socket?: { readonly readyState?: number; readonly _socket?: unknown; terminate?: () => void };
  on(event: "ready", listener: () => void): unknown;
  off(event: "ready", listener: () => void): unknown;
  emit(event: "ready"): unknown;
}

export interface EnginePacket {
  readonly type: string;
  readonly data?: string | { readonly length: number };
  readonly options?: { readonly bytes?: number };
}

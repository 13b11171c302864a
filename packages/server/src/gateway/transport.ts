import type { ErrorCode } from "@carillon/protocol";
import type { Frame } from "./frames.ts";

/** What carries a client's connections: an Engine.IO connection, which may carry several, a plain WebSocket, an event stream. */
export interface Transport {
  /** Its kind, for the metrics. */
  readonly kind: string;
  readonly isOpen: boolean;
  /** Clients' requests that are not answered yet. */
  pendingRequests: number;
  /** What its client said last with `state`; undefined: nothing so far. */
  foreground: boolean | undefined;
  write(frame: Frame): void;
  /** Bytes handed to it that are still in this process. */
  readonly unsentBytes: number;
  /** Whether everything written has left this process. */
  readonly drained: boolean;
  /** Calls `listener` when it can send again. Returns what ends that. */
  onReady(listener: () => void): () => void;
  /** A point in what was written so far; `arrived` says later whether everything before it has reached the client. */
  readonly mark: number;
  arrived(mark: number): boolean;
  /** Calls `listener` when it has closed, also where it has already. Returns what ends that. */
  onClose(listener: () => void): () => void;
  /** Its connection in this namespace has ended. */
  unclaim(namespace: string): void;
  /** After what was written, if that takes no longer than a moment. `why` is told where the protocol has a way to. */
  close(why: ErrorCode): void;
  /** Now, whether or not the client reads. */
  terminate(): void;
}

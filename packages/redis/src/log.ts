import { randomBytes } from "node:crypto";
import {
  type AppendRequest,
  type AppendResult,
  type FencePosition,
  type Log,
  type Logger,
  type LogRead,
  type Meter,
  noLogger,
  noMeter,
} from "@carillon/core";
import { CarillonError, type LogEntry, type Position, parseId } from "@carillon/protocol";
import { AppendQueue, type Chunk, type EncodedRequest } from "./append-queue.ts";
import type { RedisConnections } from "./connections.ts";
import { isTransient } from "./failures.ts";
import { decodeRecord } from "./record.ts";
import { defineScripts, type ScriptedRedis } from "./scripts.ts";

export interface RedisLogOptions {
  /** How long entries are kept at least while their number is within bounds; some are kept a little longer. */
  readonly retentionS: number;
  /** About how many entries are kept at most. */
  readonly maxEntries: number;
  /** From `append` to its answer. Default 5,000. */
  readonly appendTimeoutMs?: number;
  readonly meter?: Meter;
  readonly logger?: Logger;
}

/**
 * The log as a stream in Redis.
 *
 * One call is in flight at a time, and what comes meanwhile shares the next one. So a call's cost is shared when there is much to
 * do, and a failed request is never overtaken by one that depends on it.
 *
 * Requests of a fence source fail together with all later ones that wait: start again from the first that failed.
 */
export class RedisLog implements Log {
  readonly #commands: RedisConnections["commands"];
  readonly #names: RedisConnections["names"];
  readonly #keys: readonly string[];
  readonly #options: RedisLogOptions;
  readonly #logger: Logger;
  readonly #queue: AppendQueue;
  readonly #callKey: string;
  /** The highest that this process has seen. */
  #epoch = 0;
  #calls = 0;
  #sending = false;

  constructor(connections: Pick<RedisConnections, "commands" | "names">, options: RedisLogOptions) {
    const { commands, names } = connections;
    const { meter = noMeter, logger = noLogger, appendTimeoutMs = 5_000 } = options;
    this.#commands = commands;
    this.#names = names;
    this.#keys = [names.log, names.meta, names.checkpoints];
    this.#callKey = names.call(randomBytes(12).toString("base64url"));
    this.#options = options;
    this.#logger = logger;
    this.#queue = new AppendQueue({ timeoutMs: appendTimeoutMs, meter });
    defineScripts(commands.redis);
  }

  async append(requests: readonly AppendRequest[]): Promise<AppendResult[]> {
    const answer = this.#queue.add(requests);
    this.#send().catch((error) => this.#logger.error({ err: error }, "sending appends failed"));
    return answer;
  }

  head(): Promise<Position> {
    return this.beat("");
  }

  /** Publishes a heartbeat with the log's head and `text` on the bus, in the same step that reads it; no `text`: only reads it. */
  async beat(text: string, timeoutMs?: number): Promise<Position> {
    const { retentionS, maxEntries } = this.#options;
    const args = [maxEntries, retentionS * 1000, this.#names.broadcastChannel, text];
    const head = await this.#commands.run(
      (redis) => (redis as ScriptedRedis).carillonHead(...this.#keys, this.#epoch, ...args),
      timeoutMs === undefined ? {} : { timeoutMs },
    );
    return this.#seen(position(head));
  }

  async read(after: Position, limit: number): Promise<LogRead> {
    const args = [after.epoch, after.n, Math.min(limit, MAX_READ)];
    const answer = await this.#commands.run((redis) =>
      (redis as ScriptedRedis).carillonRead(...this.#keys, this.#epoch, ...args),
    );
    const [head, rows] = answer as [string, [id: string, fields: string[]][]];
    const entries = rows.map(
      ([id, fields]): LogEntry => decodeRecord(fields[3] ?? "", position(id), Number(fields[1])),
    );
    return { entries, head: this.#seen(position(head)) };
  }

  async fence(source: string): Promise<FencePosition | undefined> {
    const text = await this.#commands.run((redis) => redis.get(this.#names.fence(source)));
    const match = /^(\d+) (\d+)$/.exec(text ?? "");
    return match === null ? undefined : [Number(match[1]), Number(match[2])];
  }

  /** Rejects what waits. */
  close(): void {
    this.#queue.close(new CarillonError("BUS_UNAVAILABLE", "this node is closing"));
  }

  async #send(): Promise<void> {
    if (this.#sending) return;
    this.#sending = true;
    try {
      await Promise.resolve(); // what is asked for in the same breath shares the call
      while (!this.#queue.empty) await this.#deliver(this.#queue.take());
    } finally {
      this.#sending = false;
    }
  }

  /** Until the answer is there or nobody waits for it any more. Sent again unchanged, a call is known to the script. */
  async #deliver(chunks: readonly Chunk[]): Promise<void> {
    const call = this.#encode(chunks.flatMap(({ requests }) => requests));
    for (;;) {
      const open = chunks.filter((chunk) => !chunk.settled);
      if (open.length === 0) return;
      const timeoutMs = Math.max(...open.map(({ deadline }) => deadline)) - performance.now();
      try {
        const answer = await this.#commands.attempt(
          (redis) => (redis as ScriptedRedis).carillonAppend(...call),
          timeoutMs,
        );
        const results = String(answer).split(" ").map(result);
        let at = 0;
        for (const chunk of chunks) {
          const end = at + chunk.requests.length;
          chunk.resolve(results.slice(at, end));
          at = end;
        }
        return;
      } catch (error) {
        if (!isTransient(error)) return this.#queue.fail(open, this.#commands.unavailable(error));
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      }
    }
  }

  #seen(head: Position): Position {
    this.#epoch = Math.max(this.#epoch, head.epoch);
    return head;
  }

  /** The order is the script's. */
  #encode(requests: readonly EncodedRequest[]): (string | number)[] {
    const { retentionS, maxEntries } = this.#options;
    const keys = [...this.#keys, this.#callKey];
    const argv: (string | number)[] = [];
    for (const { request, record, continues } of requests) {
      const { token, fence } = request;
      argv.push((token === undefined ? 0 : 1) + (fence === undefined ? 0 : continues ? 4 : 2), record);
      if (token !== undefined) {
        keys.push(this.#names.token(token.key));
        argv.push(token.fingerprint, Math.max(Math.ceil(token.ttlS * 1000), 1));
      }
      if (fence !== undefined && !continues) {
        keys.push(this.#names.fence(fence.source));
        argv.push(...fence.position);
      }
    }
    this.#calls++;
    const fixed = [
      this.#epoch,
      maxEntries,
      retentionS * 1000,
      this.#names.broadcastChannel,
      requests.length,
      this.#calls,
      FENCE_TTL_MS,
    ];
    return [keys.length, ...keys, ...fixed, ...argv];
  }
}

function result(verdict: string): AppendResult {
  const id = verdict.slice(1);
  if (verdict.startsWith("a")) return { outcome: "appended", id };
  if (verdict.startsWith("r")) return { outcome: "repeated", id };
  return { outcome: verdict === "f" ? "fenced" : "token-reused" };
}

function position(id: unknown): Position {
  const parsed = parseId(id);
  if (parsed === undefined) throw new Error(`the log answered ${JSON.stringify(id)} where an id was expected`);
  return parsed;
}

/** Long enough for any takeover; with patterns as a feed there can be as many sources as somebody thinks up channels. */
const FENCE_TTL_MS = 7 * 24 * 3_600_000;
const MAX_READ = 1_000;
const RETRY_MS = 25;

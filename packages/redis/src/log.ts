import { createHash, randomBytes } from "node:crypto";
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
import { AppendQueue, type Chunk } from "./append-queue.ts";
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
 * The log as a stream in Redis (M1).
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
  readonly #meter: Meter;
  readonly #logger: Logger;
  readonly #queue: AppendQueue;
  readonly #ownTokens = randomBytes(9).toString("base64url");
  #ownToken = 0;
  #sending = false;

  constructor(connections: Pick<RedisConnections, "commands" | "names">, options: RedisLogOptions) {
    const { commands, names } = connections;
    const { meter = noMeter, logger = noLogger, appendTimeoutMs = 5_000 } = options;
    this.#commands = commands;
    this.#names = names;
    this.#keys = [names.log, names.meta, names.fences, names.checkpoints];
    this.#options = options;
    this.#meter = meter;
    this.#logger = logger;
    this.#queue = new AppendQueue({ timeoutMs: appendTimeoutMs, meter });
    defineScripts(commands.redis);
  }

  async append(requests: readonly AppendRequest[]): Promise<AppendResult[]> {
    const begun = performance.now();
    try {
      const answer = this.#queue.add(requests);
      this.#send().catch((error) => this.#logger.error({ err: error }, "sending appends failed"));
      return await answer;
    } finally {
      this.#meter.observe("appendSeconds", (performance.now() - begun) / 1000);
    }
  }

  head(): Promise<Position> {
    return this.beat("");
  }

  /** Publishes a heartbeat with the log's head and `text` on the bus, in the same step that reads it; no `text`: only reads it. */
  async beat(text: string, timeoutMs?: number): Promise<Position> {
    const { retentionS, maxEntries } = this.#options;
    const args = [this.#names.broadcastChannel, maxEntries, retentionS * 1000, text];
    const head = await this.#commands.run(
      (redis) => (redis as ScriptedRedis).carillonHead(...this.#keys, ...args),
      timeoutMs === undefined ? {} : { timeoutMs },
    );
    return position(head);
  }

  async read(after: Position, limit: number): Promise<LogRead> {
    this.#meter.count("logReads");
    const args = [after.epoch, after.n, Math.min(limit, MAX_READ)];
    const answer = await this.#commands.run((redis) => (redis as ScriptedRedis).carillonRead(...this.#keys, ...args));
    const [head, rows] = answer as [string, [id: string, fields: string[]][]];
    const entries = rows.map(
      ([id, fields]): LogEntry => decodeRecord(fields[3] ?? "", position(id), Number(fields[1])),
    );
    return { entries, head: position(head) };
  }

  async fence(source: string): Promise<FencePosition | undefined> {
    const text = await this.#commands.run((redis) => redis.hget(this.#names.fences, source));
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

  /** Until the answer is there or nobody waits for it any more. Sending again is harmless: every request has a token or a fence. */
  async #deliver(chunks: readonly Chunk[]): Promise<void> {
    const args = new Map(chunks.map((chunk) => [chunk, this.#encode(chunk)]));
    for (;;) {
      const open = chunks.filter((chunk) => !chunk.settled);
      if (open.length === 0) return;
      const timeoutMs = Math.max(...open.map((chunk) => chunk.deadline)) - performance.now();
      try {
        const call = this.#callArguments(open.map((chunk) => args.get(chunk) ?? { keys: [], argv: [], count: 0 }));
        const verdicts = (await this.#commands.attempt(
          (redis) => (redis as ScriptedRedis).carillonAppend(...call),
          timeoutMs,
        )) as string[];
        let at = 0;
        for (const chunk of open) {
          chunk.resolve(verdicts.slice(at, at + chunk.requests.length).map(result));
          at += chunk.requests.length;
        }
        return;
      } catch (error) {
        if (!isTransient(error)) return this.#queue.fail(open, this.#commands.unavailable(error));
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      }
    }
  }

  #callArguments(parts: readonly EncodedChunk[]): (string | number)[] {
    const { retentionS, maxEntries } = this.#options;
    const keys = [...this.#keys, ...parts.flatMap((part) => part.keys)];
    const count = parts.reduce((sum, part) => sum + part.count, 0);
    const fixed = [this.#names.broadcastChannel, maxEntries, retentionS * 1000, count];
    return [keys.length, ...keys, ...fixed, ...parts.flatMap((part) => part.argv)];
  }

  /** The order is the script's. */
  #encode(chunk: Chunk): EncodedChunk {
    const keys: string[] = [];
    const argv: (string | number)[] = [];
    for (const { request, record, continues } of chunk.requests) {
      const { fence } = request;
      const token = request.token ?? (fence === undefined ? this.#makeToken() : undefined);
      argv.push((token ? 1 : 0) + (fence === undefined ? 0 : continues ? 4 : 2), record);
      if (token !== undefined) {
        keys.push(this.#names.token(boundedKey(token.key)));
        argv.push(token.fingerprint, token.ttlS * 1000);
      }
      if (fence !== undefined && !continues) argv.push(fence.source, ...fence.position);
    }
    return { keys, argv, count: chunk.requests.length };
  }

  /** So that a call whose answer was lost can be sent again. */
  #makeToken(): NonNullable<AppendRequest["token"]> {
    this.#ownToken++;
    return { key: `own:${this.#ownTokens}:${this.#ownToken}`, fingerprint: "", ttlS: OWN_TOKEN_TTL_S };
  }
}

interface EncodedChunk {
  readonly keys: readonly string[];
  readonly argv: readonly (string | number)[];
  readonly count: number;
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

/** Callers' keys may be long; Redis keeps each for a day. */
function boundedKey(key: string): string {
  return key.length <= 128 ? key : `sha256:${createHash("sha256").update(key).digest("base64url")}`;
}

const OWN_TOKEN_TTL_S = 120;
const MAX_READ = 1_000;
const RETRY_MS = 25;

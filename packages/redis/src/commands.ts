import type { Logger, Meter } from "@carillon/core";
import { Rarely } from "@carillon/core";
import { CarillonError } from "@carillon/protocol";
import type { Redis } from "ioredis";
import { isOutage, isTransient, Unreachable } from "./failures.ts";

export interface RunOptions {
  /** From the call to its answer, waiting for the connection and repeats included. */
  readonly timeoutMs?: number;
  /** For commands that must not run twice: one attempt, after waiting for the connection. */
  readonly once?: boolean;
}

/**
 * The connection for commands, with bounds of its own.
 *
 * ioredis' queues know no limit, and with re-sending switched off it forgets what was in flight when the connection broke: those
 * promises never settle. So nothing is queued inside ioredis; waiting, repeating and giving up happen here.
 */
export class RedisCommands {
  readonly redis: Redis;
  readonly #timeoutMs: number;
  readonly #meter: Meter;
  readonly #logger: Logger;
  readonly #rarely = new Rarely(10_000);
  readonly #inFlight = new Set<(error: Error) => void>();
  readonly #waiting = new Set<() => void>();
  #pending = 0;
  #closed = false;

  constructor(redis: Redis, options: { timeoutMs: number; meter: Meter; logger: Logger }) {
    this.redis = redis;
    this.#timeoutMs = options.timeoutMs;
    this.#meter = options.meter;
    this.#logger = options.logger;
    redis.on("ready", () => {
      for (const wake of this.#waiting) wake();
    });
    redis.on("close", () => {
      for (const fail of this.#inFlight) fail(new Unreachable("the connection to Redis closed before the answer"));
    });
  }

  get ready(): boolean {
    return this.redis.status === "ready";
  }

  /**
   * Sends and, unless `once`, sends again after a lost connection or a passing refusal (LOADING, READONLY, …): for commands that
   * may run twice. Throws `BUS_UNAVAILABLE` when that doesn't succeed in time or when too many others wait.
   */
  async run<T>(send: (redis: Redis) => Promise<T>, options: RunOptions = {}): Promise<T> {
    const deadline = performance.now() + (options.timeoutMs ?? this.#timeoutMs);
    for (;;) {
      try {
        return await this.attempt(send, deadline - performance.now());
      } catch (error) {
        const again = isTransient(error) && !options.once && !this.#closed && performance.now() < deadline;
        if (!again) throw this.unavailable(error);
        await this.#pause(Math.min(50, deadline - performance.now()));
      }
    }
  }

  /** One attempt, once connected. Throws `Unreachable`, or Redis' own error. */
  async attempt<T>(send: (redis: Redis) => Promise<T>, timeoutMs: number): Promise<T> {
    if (this.#pending >= MAX_PENDING) {
      this.#meter.count("drops", 1, { reason: "redis_queue" });
      throw new CarillonError("BUS_UNAVAILABLE", "too many requests wait for Redis", { retryAfterS: 1 });
    }
    this.#pending++;
    try {
      const deadline = performance.now() + timeoutMs;
      await this.#connected(timeoutMs);
      return await this.#answer(send, deadline - performance.now());
    } finally {
      this.#pending--;
    }
  }

  /** What to throw to the caller of a port; errors that are bugs come back unchanged. */
  unavailable(error: unknown): unknown {
    if (!isOutage(error)) return error;
    this.#rarely.say("unavailable", (heldBack) =>
      this.#logger.warn({ err: error, heldBack }, "Redis did not do what was asked"),
    );
    return new CarillonError("BUS_UNAVAILABLE", undefined, { retryAfterS: 1, cause: error });
  }

  close(): void {
    this.#closed = true;
    for (const fail of this.#inFlight) fail(new Unreachable("this node is closing its connection to Redis"));
    for (const wake of this.#waiting) wake();
    this.redis.disconnect();
  }

  async #connected(timeoutMs: number): Promise<void> {
    if (this.#closed) throw new Unreachable("the connection to Redis is closed");
    if (this.ready) return;
    await this.#pause(timeoutMs);
    if (!this.ready || this.#closed) throw new Unreachable("Redis is not connected");
  }

  /** Until connected, or `ms` at most; a connection that is up makes it a plain pause. */
  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        clearTimeout(timer);
        this.#waiting.delete(wake);
        resolve();
      };
      const timer = setTimeout(wake, Math.max(ms, 0));
      this.#waiting.add(wake);
    });
  }

  #answer<T>(send: (redis: Redis) => Promise<T>, timeoutMs: number): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const settle = () => {
        clearTimeout(timer);
        this.#inFlight.delete(fail);
      };
      const fail = (error: unknown) => {
        settle();
        reject(error);
      };
      const timer = setTimeout(() => fail(new Unreachable("Redis did not answer in time")), Math.max(timeoutMs, 0));
      this.#inFlight.add(fail);
      send(this.redis).then((answer) => {
        settle();
        resolve(answer);
      }, fail);
    });
  }
}

const MAX_PENDING = 10_000;

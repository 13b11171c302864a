import type { Seats } from "@carillon/core";
import type { Redis } from "ioredis";
import type { RedisConnections } from "./connections.ts";

export interface RedisSeatsOptions {
  /** Begins the names of this node's seats. */
  readonly node: string;
  /** A handshake waits no longer for a count. */
  readonly timeoutMs: number;
}

/**
 * KEYS 1 the user's seats by the time they are given up, 2 begins the keys by which nodes say that they live; ARGV 1 the seat as
 * `node:id`, 2 how many there may be, 3 their time in seconds. Seats of dead nodes are looked for only when there is no other.
 */
const TAKE = `
local time = redis.call('TIME')
local now, max, ttl = tonumber(time[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then
  redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
  if redis.call('ZCARD', KEYS[1]) >= max then
    local alive = {}
    for _, seat in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '+inf')) do
      local node = string.match(seat, '^([^:]*):') or ''
      if alive[node] == nil then alive[node] = redis.call('GET', KEYS[2] .. node) and true or false end
      if not alive[node] then redis.call('ZREM', KEYS[1], seat) end
    end
    if redis.call('ZCARD', KEYS[1]) >= max then return 0 end
  end
end
redis.call('ZADD', KEYS[1], now + ttl, ARGV[1])
redis.call('EXPIRE', KEYS[1], ttl)
return 1
`;

const SEAT_S = 600;
const ALIVE_EVERY_MS = 2000;
const ALIVE_MS = 8000;
const PAGE = 500;

export class RedisSeats implements Seats {
  readonly #connections: Pick<RedisConnections, "commands" | "names">;
  readonly #node: string;
  readonly #timeoutMs: number;
  #timer: NodeJS.Timeout | undefined;

  constructor(connections: Pick<RedisConnections, "commands" | "names">, options: RedisSeatsOptions) {
    const { node, timeoutMs } = options;
    this.#connections = connections;
    this.#node = node.replaceAll(":", "_");
    this.#timeoutMs = timeoutMs;
  }

  start(): void {
    this.#timer = setInterval(() => this.#live(), ALIVE_EVERY_MS);
    this.#live();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  async take(user: string, seat: string, max: number): Promise<boolean> {
    const answer = await this.#run((redis) =>
      redis.eval(TAKE, 2, this.#key(user), this.#aliveKey(""), this.#member(seat), max, SEAT_S),
    );
    return answer === 1;
  }

  async leave(user: string, seat: string): Promise<void> {
    await this.#run((redis) => redis.zrem(this.#key(user), this.#member(seat)));
  }

  async keep(held: readonly (readonly [user: string, seat: string])[]): Promise<void> {
    for (let at = 0; at < held.length; at += PAGE) {
      await this.#connections.commands.run(async (redis) => {
        const pipeline = redis.pipeline();
        const until = Math.floor(Date.now() / 1000) + SEAT_S;
        for (const [user, seat] of held.slice(at, at + PAGE)) {
          pipeline.zadd(this.#key(user), until, this.#member(seat)).expire(this.#key(user), SEAT_S);
        }
        for (const [error] of (await pipeline.exec()) ?? []) if (error !== null) throw error;
      });
    }
  }

  #run<T>(send: (redis: Redis) => Promise<T>): Promise<T> {
    return this.#connections.commands.run(send, { timeoutMs: this.#timeoutMs });
  }

  #live(): void {
    this.#run((redis) => redis.set(this.#aliveKey(this.#node), "1", "PX", ALIVE_MS)).catch(() => {}); // again in a moment
  }

  #member(seat: string): string {
    return `${this.#node}:${seat}`;
  }

  #key(user: string): string {
    return this.#connections.names.key(`seats:${user}`);
  }

  #aliveKey(node: string): string {
    return this.#connections.names.key(`alive:${node}`);
  }
}

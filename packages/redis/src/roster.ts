import type { Roster } from "@carillon/core";
import type { Redis } from "ioredis";
import type { RedisConnections } from "./connections.ts";

export interface RedisRosterOptions {
  /** What the records are about. */
  readonly name: string;
  readonly node: string;
  /** Default 8,000. */
  readonly lifetimeMs?: number;
}

/** Every script: KEYS 1 nodes by the time at which they are gone, 2 their records. ARGV 1 node, 2 lifetime in ms, 3 record. */
const PRELUDE = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
`;

const SAY = `${PRELUDE}
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
redis.call('EXPIRE', KEYS[1], 3600)
redis.call('EXPIRE', KEYS[2], 3600)
return 1
`;

const ALL = `${PRELUDE}
local gone = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 1000)
if #gone > 0 then
  redis.call('ZREM', KEYS[1], unpack(gone))
  redis.call('HDEL', KEYS[2], unpack(gone))
end
local alive = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '+inf', 'LIMIT', 0, 1000)
if #alive == 0 then return {} end
return redis.call('HMGET', KEYS[2], unpack(alive))
`;

const LEAVE = `
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
return 1
`;

const LIFETIME_MS = 8000;
const TIMEOUT_MS = 1000;

/** A roster by Redis' clock. Whoever reads it clears away what is over. */
export class RedisRoster implements Roster {
  readonly lifetimeMs: number;
  readonly #connections: Pick<RedisConnections, "commands" | "names">;
  readonly #name: string;
  readonly #node: string;

  constructor(connections: Pick<RedisConnections, "commands" | "names">, options: RedisRosterOptions) {
    this.#connections = connections;
    this.#name = options.name;
    this.#node = options.node;
    this.lifetimeMs = options.lifetimeMs ?? LIFETIME_MS;
  }

  async say(record: string): Promise<void> {
    await this.#run(SAY, this.#node, this.lifetimeMs, record);
  }

  async all(): Promise<readonly string[]> {
    const records = (await this.#run(ALL)) as (string | null)[];
    return records.filter((record) => record !== null);
  }

  async leave(): Promise<void> {
    await this.#run(LEAVE, this.#node);
  }

  #run(script: string, ...args: (string | number)[]): Promise<unknown> {
    const { commands, names } = this.#connections;
    const keys = [names.key(`roster:${this.#name}`), names.key(`roster:${this.#name}:records`)];
    return commands.run((redis: Redis) => redis.eval(script, 2, ...keys, ...args), { timeoutMs: TIMEOUT_MS });
  }
}

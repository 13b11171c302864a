import type { TokenBucket } from "@carillon/core";
import type { RedisConnections } from "./connections.ts";

export interface RedisTokenBucketOptions {
  readonly name: string;
  readonly perSecond: number;
}

/** KEYS 1 tokens and when they were counted; ARGV 1 tokens a second, 2 how many are wanted. Answers with the ms to wait. */
const TAKE = `
local time = redis.call('TIME')
local now, rate, wanted = time[1] * 1000 + time[2] / 1000, tonumber(ARGV[1]), tonumber(ARGV[2])
local state = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local since = math.max(now - (tonumber(state[2]) or 0), 0)
local tokens = math.min((tonumber(state[1]) or rate) + since * rate / 1000, rate)
local missing = wanted - tokens
if missing <= 0 then tokens = tokens - wanted end
redis.call('HSET', KEYS[1], 'tokens', string.format('%.6f', tokens), 'at', string.format('%.3f', now))
redis.call('EXPIRE', KEYS[1], 60)
return missing <= 0 and 0 or math.ceil(missing * 1000 / rate)
`;

const TIMEOUT_MS = 250;

/** By Redis' clock, for all nodes. Lost with Redis' data, it is full again. */
export class RedisTokenBucket implements TokenBucket {
  readonly #connections: Pick<RedisConnections, "commands" | "names">;
  readonly #options: RedisTokenBucketOptions;

  constructor(connections: Pick<RedisConnections, "commands" | "names">, options: RedisTokenBucketOptions) {
    this.#connections = connections;
    this.#options = options;
  }

  async take(tokens: number): Promise<number> {
    const { commands, names } = this.#connections;
    const { name, perSecond } = this.#options;
    const key = names.key(`bucket:${name}`);
    // Repeated after a lost answer it may be counted twice, which lets fewer pass.
    return (await commands.run((redis) => redis.eval(TAKE, 1, key, perSecond, tokens), {
      timeoutMs: TIMEOUT_MS,
    })) as number;
  }
}

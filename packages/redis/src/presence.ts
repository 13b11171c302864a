import {
  type Meter,
  noMeter,
  type Presence,
  type PresenceChange,
  type PresentClient,
  type PresentElsewhere,
} from "@carillon/core";
import { readJson } from "@carillon/protocol";
import type { Redis } from "ioredis";
import type { RedisConnections } from "./connections.ts";

export interface RedisPresenceOptions {
  /** Opaque, and another one at each start, so that what a dead process left behind is never taken for ours. */
  readonly node: string;
  /** How long a node that says nothing counts as alive. Default 10,000. */
  readonly leaseMs?: number;
  readonly meter?: Meter;
}

/**
 * Every script: KEYS 1 the nodes by the end of their lease, 2 begins the keys of what each of them put: a hash of records by
 * user. Its field without a name holds the number of the last put, by which its node sees that nothing of it was lost.
 */
const PRELUDE = `
local nodes, prefix = KEYS[1], KEYS[2]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function others(than)
  local found = {}
  for _, node in ipairs(redis.call('ZRANGEBYSCORE', nodes, '-inf', '+inf')) do
    if node ~= than then found[#found + 1] = prefix .. node end
  end
  return found
end
local function isIn(hashes, user)
  for _, hash in ipairs(hashes) do
    if redis.call('HMGET', hash, user)[1] then return true end
  end
  return false
end
local function isKnown(hash, low, high)
  local at = tonumber(redis.call('HMGET', hash, '')[1] or '')
  return at and at >= tonumber(low) and at <= tonumber(high)
end
`;

/** ARGV 1 node, 2 lease in ms, 3 and 4 between which its last put's number must be, 5 how long all is kept without a node, in s. */
const BEAT = `${PRELUDE}
local own = prefix .. ARGV[1]
redis.call('ZADD', nodes, now + ARGV[2], ARGV[1])
local known = isKnown(own, ARGV[3], ARGV[4])
if not known then
  redis.call('UNLINK', own)
  redis.call('HSET', own, '', '0')
end
redis.call('EXPIRE', nodes, ARGV[5])
redis.call('EXPIRE', own, ARGV[5])
return known and 1 or 0
`;

/** ARGV 1 node, 2 and 3 between which the number of the last put must be, 3 the number of this; then user and record, empty for none. */
const PUT = `${PRELUDE}
local own = prefix .. ARGV[1]
if not isKnown(own, ARGV[2], ARGV[3]) then return false end
local elsewhere = others(ARGV[1])
local came, left = {}, {}
for i = 4, #ARGV, 2 do
  local user, record = ARGV[i], ARGV[i + 1]
  if record == '' then
    if redis.call('HDEL', own, user) == 1 and not isIn(elsewhere, user) then left[#left + 1] = user end
  elseif redis.call('HSET', own, user, record) == 1 and not isIn(elsewhere, user) then
    came[#came + 1] = user
  end
end
redis.call('HSET', own, '', ARGV[3])
return { came, left }
`;

/** ARGV 1 how many users. Of one dead node; nothing where there is none. Who is with another dead node is left to its sweep. */
const SWEEP = `${PRELUDE}
local dead = redis.call('ZRANGEBYSCORE', nodes, '-inf', now, 'LIMIT', 0, 1)[1]
if not dead then return false end
local hash, elsewhere = prefix .. dead, others(dead)
redis.call('HDEL', hash, '')
local users, left = redis.call('HRANDFIELD', hash, ARGV[1]), {}
for _, user in ipairs(users) do
  if not isIn(elsewhere, user) then left[#left + 1] = user end
end
if #users > 0 then redis.call('HDEL', hash, unpack(users)) end
if #users < tonumber(ARGV[1]) then
  redis.call('UNLINK', hash)
  redis.call('ZREM', nodes, dead)
end
return left
`;

/** ARGV 1 node, 2 its remaining time in ms where another lives to see the end of it. Whether none does. */
const LEAVE = `${PRELUDE}
local alone = true
for _, node in ipairs(redis.call('ZRANGEBYSCORE', nodes, string.format('(%.0f', now), '+inf')) do
  if node ~= ARGV[1] then alone = false end
end
redis.call('ZADD', nodes, now + (alone and 0 or ARGV[2]), ARGV[1])
return alone and 1 or 0
`;

/** ARGV the users. Each living node and its records of them. */
const READ = `${PRELUDE}
local found = {}
for _, node in ipairs(redis.call('ZRANGEBYSCORE', nodes, string.format('(%.0f', now), '+inf')) do
  found[#found + 1] = { node, redis.call('HMGET', prefix .. node, unpack(ARGV)) }
end
return found
`;

const LEASE_MS = 10_000;
/** Kept for whoever starts next, when all nodes died. */
const KEPT_S = 3600;
const PAGE = 200;
const MAX_SWEEPS = 1000;
const TIMEOUT_MS = 1000;

/** Presence as a hash for each node, and a lease for each: a user who stays costs nothing, and a node's death is one lease's end. */
export class RedisPresence implements Presence {
  readonly leaseMs: number;
  readonly #connections: Pick<RedisConnections, "commands" | "names">;
  readonly #node: string;
  readonly #meter: Meter;
  /** The last put known to be there, and the last one sent. */
  #arrived = 0;
  #sent = 0;

  constructor(connections: Pick<RedisConnections, "commands" | "names">, options: RedisPresenceOptions) {
    this.#connections = connections;
    this.#node = options.node;
    this.leaseMs = options.leaseMs ?? LEASE_MS;
    this.#meter = options.meter ?? noMeter;
  }

  async beat(): Promise<boolean> {
    const known = await this.#run(BEAT, this.#node, this.leaseMs, this.#arrived, this.#sent, KEPT_S);
    if (known === 1) return true;
    this.#arrived = 0;
    return false;
  }

  async put(changes: ReadonlyMap<string, readonly PresentClient[] | undefined>): Promise<PresenceChange | undefined> {
    this.#sent++;
    const records = [...changes].flatMap(([user, clients]) => [user, clients === undefined ? "" : write(clients)]);
    const answer = (await this.#run(PUT, this.#node, this.#arrived, this.#sent, ...records)) as
      | [string[], string[]]
      | null;
    if (answer === null) return undefined;
    this.#arrived = this.#sent;
    const [came, left] = answer;
    return { came, left };
  }

  async sweep(): Promise<readonly string[]> {
    const left: string[] = [];
    for (let i = 0; i < MAX_SWEEPS; i++) {
      const page = (await this.#run(SWEEP, PAGE)) as string[] | null;
      if (page === null) break;
      left.push(...page);
    }
    return left;
  }

  async leave(graceMs: number): Promise<readonly string[]> {
    const alone = (await this.#run(LEAVE, this.#node, graceMs)) === 1;
    return alone ? this.sweep() : [];
  }

  async read(users: readonly string[]): Promise<ReadonlyMap<string, readonly PresentElsewhere[]>> {
    const found = new Map<string, PresentElsewhere[]>();
    for (let at = 0; at < users.length; at += PAGE) {
      const page = users.slice(at, at + PAGE);
      for (const [node, records] of (await this.#run(READ, ...page)) as [string, (string | null)[]][]) {
        for (const [i, user] of page.entries()) {
          const clients = this.#parse(records[i]).map((client) => ({ ...client, node }));
          if (clients.length > 0) found.set(user, [...(found.get(user) ?? []), ...clients]);
        }
      }
    }
    return found;
  }

  #run(script: string, ...args: (string | number)[]): Promise<unknown> {
    const { commands, names } = this.#connections;
    const keys = [names.key("presence:nodes"), names.key("presence:of:")];
    return commands.run((redis: Redis) => redis.eval(script, 2, ...keys, ...args), { timeoutMs: TIMEOUT_MS });
  }

  /** Nobody, where it is a record of another version. */
  #parse(record: string | null | undefined): PresentClient[] {
    if (record === null || record === undefined) return [];
    const clients = read(record);
    if (clients === undefined) this.#meter.count("drops", 1, { reason: "presence_record" });
    return clients ?? [];
  }
}

/** Each client as `[whether in the foreground or null, since, installation or nothing]`. */
function write(clients: readonly PresentClient[]): string {
  return JSON.stringify(
    clients.map(({ foreground, sinceMs, installationId }) => [
      foreground ?? null,
      sinceMs,
      ...(installationId === undefined ? [] : [installationId]),
    ]),
  );
}

function read(record: string): PresentClient[] | undefined {
  const value = readJson(record);
  if (!Array.isArray(value) || !value.every(isClient)) return undefined;
  return value.map(([foreground, sinceMs, installationId]) => ({
    foreground: foreground ?? undefined,
    sinceMs,
    ...(installationId !== undefined && { installationId }),
  }));
}

function isClient(value: unknown): value is [boolean | null, number, string?] {
  if (!Array.isArray(value)) return false;
  const [foreground, sinceMs, installationId] = value;
  return (
    (foreground === null || typeof foreground === "boolean") &&
    typeof sinceMs === "number" &&
    (installationId === undefined || typeof installationId === "string")
  );
}

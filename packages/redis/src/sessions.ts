import { type Meter, noMeter, type SessionRecord, type Sessions } from "@carillon/core";
import { isChannelName, isPlainObject, parseId, readJson } from "@carillon/protocol";
import type { RedisConnections } from "./connections.ts";

export interface RedisSessionsOptions {
  /** How long a record outlives its last `save` or `touch`: the log's retention, or longer. */
  readonly ttlS: number;
  readonly meter?: Meter;
}

/** Session records as JSON, a key each. */
export class RedisSessions implements Sessions {
  readonly #commands: RedisConnections["commands"];
  readonly #names: RedisConnections["names"];
  readonly #ttlS: number;
  readonly #meter: Meter;

  constructor(connections: Pick<RedisConnections, "commands" | "names">, options: RedisSessionsOptions) {
    this.#commands = connections.commands;
    this.#names = connections.names;
    this.#ttlS = options.ttlS;
    this.#meter = options.meter ?? noMeter;
  }

  async save(pid: string, record: SessionRecord): Promise<void> {
    const text = JSON.stringify(record);
    await this.#commands.run((redis) => redis.set(this.#names.session(pid), text, "EX", this.#ttlS));
  }

  async load(pid: string): Promise<SessionRecord | undefined> {
    const text = await this.#commands.run((redis) => redis.get(this.#names.session(pid)));
    if (text === null) return undefined;
    const record = readRecord(text);
    if (record === undefined) this.#meter.count("drops", 1, { reason: "session_record" });
    return record;
  }

  async touch(pids: readonly string[]): Promise<void> {
    for (let at = 0; at < pids.length; at += TOUCH_PAGE) {
      const page = pids.slice(at, at + TOUCH_PAGE);
      await this.#commands.run(async (redis) => {
        const pipeline = redis.pipeline();
        for (const pid of page) pipeline.expire(this.#names.session(pid), this.#ttlS);
        for (const [error] of (await pipeline.exec()) ?? []) if (error !== null) throw error;
      });
    }
  }
}

/** `undefined` for anything that isn't a record of this version: then the connection starts anew, with a gap. */
function readRecord(text: string): SessionRecord | undefined {
  const value = readJson(text);
  if (!isPlainObject(value)) return undefined;
  const { sub, namespace, rooms, channels, replays, starts, quiet, floor } = value;
  const isId = (id: unknown) => parseId(id) !== undefined;
  const isPair = (pair: unknown, isSecond: (second: unknown) => boolean) =>
    Array.isArray(pair) && pair.length === 2 && isChannelName(pair[0]) && isSecond(pair[1]);
  const fits =
    typeof sub === "string" &&
    typeof namespace === "string" &&
    Array.isArray(rooms) &&
    rooms.every((pair) => isPair(pair, (room) => typeof room === "string")) &&
    Array.isArray(channels) &&
    channels.every(isChannelName) &&
    Array.isArray(replays) &&
    replays.every((pair) => isPair(pair, isId)) &&
    (starts === undefined || (Array.isArray(starts) && starts.every((pair) => isPair(pair, isId)))) &&
    (quiet === undefined ||
      (Array.isArray(quiet) && quiet.every((pair) => Array.isArray(pair) && pair.length === 2 && pair.every(isId)))) &&
    (floor === undefined || isId(floor));
  if (!fits) return undefined;
  return {
    sub,
    namespace,
    rooms,
    channels,
    replays,
    ...(starts !== undefined && { starts }),
    ...(quiet !== undefined && { quiet }),
    ...(floor !== undefined && { floor: floor as string }),
  };
}

const TOUCH_PAGE = 500;

import { type Logger, noLogger, type Revocation, type Revocations } from "@carillon/core";
import { isPlainObject, isPrincipalId, readJson } from "@carillon/protocol";
import type { RedisConnections } from "./connections.ts";

export interface RedisRevocationsOptions {
  /** How long a revocation is kept: at least as long as a token may live. */
  readonly retentionS: number;
  readonly logger?: Logger;
}

/** Read whole by every node each few seconds; more than this are not a way to log users out. */
const MAX_REVOCATIONS = 100_000;

/**
 * A sorted set of whom, by the moment before which what they were issued is refused; and a word to all nodes when one is added.
 * Whoever misses the word reads the set.
 */
export class RedisRevocations implements Revocations {
  readonly #connections: Pick<RedisConnections, "commands" | "names" | "subscriptions">;
  readonly #retentionMs: number;
  readonly #logger: Logger;
  readonly #listeners: ((revocation: Revocation) => void)[] = [];
  readonly #key: string;
  readonly #channel: string;
  #stop: (() => void) | undefined;

  constructor(
    connections: Pick<RedisConnections, "commands" | "names" | "subscriptions">,
    options: RedisRevocationsOptions,
  ) {
    this.#connections = connections;
    this.#retentionMs = options.retentionS * 1000;
    this.#logger = options.logger ?? noLogger;
    this.#key = connections.names.key("revocations");
    this.#channel = connections.names.channel("revoked");
  }

  start(): void {
    this.#stop = this.#connections.subscriptions.onChannel(this.#channel, (_channel, message) => {
      const revocation = readAnnouncement(message.toString("utf8"));
      if (revocation === undefined) this.#logger.warn({}, "a revocation could not be read; it is found in the store");
      else for (const listener of this.#listeners) listener(revocation);
    });
  }

  stop(): void {
    this.#stop?.();
  }

  async revoke(revocation: Revocation): Promise<void> {
    const { commands } = this.#connections;
    const { user, sid, beforeMs } = revocation;
    await commands.run(async (redis) => {
      await redis.zadd(this.#key, "GT", beforeMs, JSON.stringify([user, sid ?? null]));
      await redis.zremrangebyscore(this.#key, "-inf", Date.now() - this.#retentionMs);
      await redis.publish(this.#channel, JSON.stringify(revocation));
    });
  }

  async load(): Promise<readonly Revocation[]> {
    const rows = await this.#connections.commands.run((redis) =>
      // The newest, should there be more.
      redis.zrevrangebyscore(
        this.#key,
        "+inf",
        Date.now() - this.#retentionMs,
        "WITHSCORES",
        "LIMIT",
        0,
        MAX_REVOCATIONS,
      ),
    );
    const found: Revocation[] = [];
    for (let i = 0; i + 1 < rows.length; i += 2) {
      const [user, sid] = readMember(rows[i]!);
      if (user !== undefined) found.push({ user, sid, beforeMs: Number(rows[i + 1]) });
    }
    return found;
  }

  onRevoked(listener: (revocation: Revocation) => void): void {
    this.#listeners.push(listener);
  }
}

function readMember(text: string): [user?: string, sid?: string | undefined] {
  const value = readJson(text);
  if (!Array.isArray(value) || !isPrincipalId(value[0])) return [];
  return [value[0], isPrincipalId(value[1]) ? value[1] : undefined];
}

function readAnnouncement(text: string): Revocation | undefined {
  const value = readJson(text);
  if (!isPlainObject(value) || !isPrincipalId(value.user) || typeof value.beforeMs !== "number") return undefined;
  return {
    user: value.user,
    sid: isPrincipalId(value.sid) ? value.sid : undefined,
    beforeMs: value.beforeMs,
    reason: typeof value.reason === "string" ? value.reason : undefined,
  };
}

import { createHash } from "node:crypto";

/**
 * Every name that this product uses in Redis. Keys and channels alike carry the prefix, because pub/sub ignores database numbers:
 * without it two deployments on one Redis would hear each other.
 */
export interface RedisNames {
  readonly prefix: string;
  readonly log: string;
  readonly meta: string;
  readonly checkpoints: string;
  readonly wanted: string;
  readonly confirmed: string;
  token(key: string): string;
  fence(source: string): string;
  /** The last call to the log that a process made. */
  call(process: string): string;
  lease(name: string): string;
  session(pid: string): string;
  /** For further modules: in the same hash slot as all others, as scripts over several keys need it in a Cluster. */
  key(name: string): string;
  /** Of the Socket.IO adapter of the root namespace: what `RedisAdapter` with `key: prefix` uses. */
  readonly broadcastChannel: string;
  readonly broadcastPattern: string;
  readonly markChannel: string;
  readonly interestChannel: string;
  /** Private to one connection that wants to know whether it hears. */
  echoChannel(id: string): string;
  /** For further modules. */
  channel(name: string): string;
  /** Whether a channel is one of ours; a feed with wide patterns must not take our own traffic for somebody's message. */
  isOwnChannel(channel: string): boolean;
}

/** Braces would move the hash slot, the others are wildcards to PSUBSCRIBE. */
const PREFIX = /^[A-Za-z0-9_.:\-/]{1,64}$/;

export function redisNames(prefix: string): RedisNames {
  if (!PREFIX.test(prefix)) {
    throw new TypeError(`a Redis prefix is 1 to 64 of A-Z a-z 0-9 _ . : - / ; ${JSON.stringify(prefix)} is not`);
  }
  const key = (name: string) => `{${prefix}}:${name}`;
  return {
    prefix,
    log: key("log"),
    meta: key("meta"),
    checkpoints: key("checkpoints"),
    wanted: key("wanted"),
    confirmed: key("confirmed"),
    token: (token) => key(`token:${bounded(token)}`),
    fence: (source) => key(`fence:${bounded(source)}`),
    call: (process) => key(`call:${process}`),
    lease: (name) => key(`lease:${name}`),
    session: (pid) => key(`session:${bounded(pid)}`),
    key,
    broadcastChannel: `${prefix}#/#`,
    broadcastPattern: `${prefix}#/#*`,
    markChannel: `${prefix}:mark`,
    interestChannel: `${prefix}:interest`,
    channel: (name) => `${prefix}:own:${name}`,
    echoChannel: (id) => `${prefix}:echo:${id}`,
    isOwnChannel: (channel) =>
      channel.startsWith(prefix) &&
      /^(?:#|:mark$|:interest$|:echo:|:own:|-request#|-response#)/.test(channel.slice(prefix.length)),
  };
}

/** Names from the outside may be long; a key is kept for a day and more. */
function bounded(name: string): string {
  return name.length <= 128 ? name : `sha256:${createHash("sha256").update(name).digest("base64url")}`;
}

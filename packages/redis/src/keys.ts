/**
 * Every name that this product uses in Redis. Keys and channels alike carry the prefix, because pub/sub ignores database numbers:
 * without it two deployments on one Redis would hear each other.
 */
export interface RedisNames {
  readonly prefix: string;
  readonly log: string;
  readonly meta: string;
  readonly fences: string;
  readonly checkpoints: string;
  readonly wanted: string;
  readonly confirmed: string;
  token(key: string): string;
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
    fences: key("fences"),
    checkpoints: key("checkpoints"),
    wanted: key("wanted"),
    confirmed: key("confirmed"),
    token: (token) => key(`token:${token}`),
    lease: (name) => key(`lease:${name}`),
    session: (pid) => key(`session:${pid}`),
    key,
    broadcastChannel: `${prefix}#/#`,
    broadcastPattern: `${prefix}#/#*`,
    markChannel: `${prefix}:mark`,
    interestChannel: `${prefix}:interest`,
    echoChannel: (id) => `${prefix}:echo:${id}`,
    isOwnChannel: (channel) =>
      channel.startsWith(prefix) &&
      /^(?:#|:mark$|:interest$|:echo:|-request#|-response#)/.test(channel.slice(prefix.length)),
  };
}

import { connect as connectTcp } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { type ConnectionOptions, connect as connectTls } from "node:tls";
import { AbstractConnector, Redis, type RedisOptions } from "ioredis";

export interface Address {
  readonly host: string;
  readonly port: number;
}

type Connector = NonNullable<RedisOptions["Connector"]>;

/**
 * Connects to whichever node of a Redis Cluster holds `key`'s slot at that moment.
 *
 * All keys of a deployment share one slot, so one connection to its owner does what a cluster client would, and listeners there
 * hear everything in the order in which the owner heard it. When the slot moves, MOVED makes the connections come here again.
 */
export function slotConnector(seeds: readonly Address[], key: string, options: RedisOptions): Connector {
  let known: readonly Address[] = [];

  return class SlotConnector extends AbstractConnector {
    constructor() {
      super(options.disconnectTimeout ?? 500);
    }

    override check(info: { role?: string }): boolean {
      return info.role === undefined || info.role === "master";
    }

    // ioredis gives up for good when this rejects, so it looks until it finds or is told to stop.
    override async connect(emit: (type: string, error: Error) => void): ReturnType<AbstractConnector["connect"]> {
      this.connecting = true;
      for (;;) {
        const answer = await findOwner([...known, ...seeds], key, options);
        if (!this.connecting) throw new Error("Connection is closed.");
        if (answer.owner !== undefined) {
          known = answer.nodes.slice(0, MAX_KNOWN);
          const { tls } = options;
          const socket = tls
            ? connectTls({ ...(tls as ConnectionOptions), ...answer.owner })
            : connectTcp(answer.owner);
          socket.once("error", (error) => {
            this.firstError = error;
          });
          this.stream = socket;
          return socket;
        }
        emit("error", new Error(`no node of the Redis Cluster knows who holds the slot of ${key}: ${answer.reason}`));
        await sleep(200);
      }
    }
  };
}

interface Answer {
  readonly owner?: Address;
  readonly nodes: readonly Address[];
  readonly reason: string;
}

/** One after another: seeds are few and an answer from any of them is enough. */
async function findOwner(candidates: readonly Address[], key: string, options: RedisOptions): Promise<Answer> {
  let reason = "there are no nodes to ask";
  const asked = new Set<string>();
  for (const candidate of candidates) {
    const name = `${candidate.host}:${candidate.port}`;
    if (asked.has(name)) continue;
    asked.add(name);
    try {
      const { slot, ranges } = await ask(candidate, key, options);
      const nodes = ranges.map(([, , master]) => address(master, candidate));
      const index = ranges.findIndex(([first, last]) => first <= slot && slot <= last);
      const owner = nodes[index];
      if (owner !== undefined) return { owner, nodes, reason: "" };
      reason = `${name}: slot ${slot} is not served`;
    } catch (error) {
      reason = `${name}: ${error instanceof Error ? error.message : String(error)}`;
    }
  }
  return { nodes: [], reason };
}

type SlotNode = [host: string | null, port: number];
type SlotRange = [first: number, last: number, master: SlotNode];

async function ask(at: Address, key: string, options: RedisOptions): Promise<{ slot: number; ranges: SlotRange[] }> {
  const { username, password, tls } = options;
  const client = new Redis({
    ...at,
    ...(username !== undefined && { username }),
    ...(password !== undefined && { password }),
    ...(tls !== undefined && { tls }),
    lazyConnect: true,
    enableReadyCheck: false,
    retryStrategy: () => null,
    connectTimeout: ASK_TIMEOUT_MS,
    commandTimeout: ASK_TIMEOUT_MS,
    disconnectTimeout: 100,
  });
  let failure: Error | undefined;
  client.on("error", (error) => {
    failure ??= error;
  });
  try {
    await client.connect();
    const [slot, ranges] = await Promise.all([client.cluster("KEYSLOT", key), client.cluster("SLOTS")]);
    return { slot, ranges: ranges as unknown as SlotRange[] };
  } catch (error) {
    throw failure ?? error;
  } finally {
    client.disconnect();
  }
}

/** A node that doesn't know its own address leaves it out: it is where we asked. */
function address([host, port]: SlotNode, asked: Address): Address {
  return { host: host === null || host === "" || host === "?" ? asked.host : host, port };
}

const ASK_TIMEOUT_MS = 1_500;
const MAX_KNOWN = 64;

import type { BusListener, Labels, Meter, MetricKey } from "@carillon/core";
import { type JsonText, type LogEntry, type Position, parseId } from "@carillon/protocol";
import { onTestFinished } from "vitest";
import { connectRedis, RedisBus, type RedisConnectOptions, RedisLog, type RedisLogOptions } from "../src/index.ts";

export interface TestNode {
  connections: ReturnType<typeof connectRedis>;
  log: RedisLog;
  bus: RedisBus;
  meter: CountingMeter;
  heard: LogEntry[];
  heads: Position[];
  /** How often the subscription was (re)made. */
  readonly subscribed: number;
}

/** Log and bus of one node, closed after the test. */
export function makeNode(
  nodeId: string,
  at: RedisConnectOptions,
  options: Partial<RedisLogOptions> & { heartbeatMs?: number } = {},
): TestNode {
  const meter = new CountingMeter();
  const connections = connectRedis({ ...at, meter });
  const log = new RedisLog(connections, { retentionS: 60, maxEntries: 100_000, meter, ...options });
  const bus = new RedisBus(connections, log, { nodeId, heartbeatMs: options.heartbeatMs ?? 300, meter });
  const heard: LogEntry[] = [];
  const heads: Position[] = [];
  let subscribed = 0;
  const listener: BusListener = {
    broadcast: ({ entries }) => void heard.push(...entries),
    head: (head) => void heads.push(head),
    subscribed: () => void subscribed++,
  };
  bus.listen(listener);
  bus.start();
  onTestFinished(() => {
    bus.stop();
    log.close();
    connections.close();
  });
  return {
    connections,
    log,
    bus,
    meter,
    heard,
    heads,
    get subscribed() {
      return subscribed;
    },
  };
}

export class CountingMeter implements Meter {
  readonly counts = new Map<string, number>();

  count(key: MetricKey, by = 1, labels?: Labels): void {
    const name = [key, ...Object.values(labels ?? {})].join(" ");
    this.counts.set(name, (this.counts.get(name) ?? 0) + by);
  }

  set(): void {}
  observe(): void {}
}

export function message(value: unknown): { draft: { channel: string; payload: JsonText } } {
  return { draft: { channel: "chat", payload: JSON.stringify(value) as JsonText } };
}

export function idOf(results: readonly { outcome: string; id?: string }[]): Position {
  const position = parseId(results[0]?.id);
  if (position === undefined) throw new Error(`no id in ${JSON.stringify(results)}`);
  return position;
}

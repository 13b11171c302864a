/** One notification to everybody, with very many devices: how fast they are pushed, in how much memory, and whether the quota is kept. */
import { setTimeout as sleep } from "node:timers/promises";
import { api, type NodeServer, queryAt, startCluster, startFcm, waitFor } from "@carillon/testkit";
import { machine } from "../bench/machine.ts";
import { residentBytes } from "../bench/usage.ts";

export interface StormOptions {
  readonly devices: number;
  readonly nodes: number;
  /** PUSHES_PER_S. */
  readonly perSecond: number;
  /** How long the stand-in takes for each message. */
  readonly latencyMs: number;
  readonly say: (line: string) => void;
}

export interface StormResult {
  readonly machine: string;
  readonly devices: number;
  readonly pushed: number;
  readonly seconds: number;
  readonly perSecond: number;
  /** In any stretch of a minute, as FCM counts; the quota lets bursts of one second's worth pass. */
  readonly mostInAMinute: number;
  readonly quotaOfAMinute: number;
  /** Of each node: at rest, and at most. */
  readonly memoryMb: readonly { readonly before: number; readonly most: number }[];
}

const DEVICES_PER_USER = 2;
const WINDOW_MS = 60_000;
const BURST_S = 1;
const MAX_MS = 3_600_000;

export async function pushStorm(options: StormOptions): Promise<StormResult> {
  const { devices, perSecond, latencyMs, say } = options;
  const fcm = await startFcm({ countOnly: true });
  fcm.byDefault = { afterMs: latencyMs, answer: "ok" };
  const env = { ...fcm.env, PUSHES_PER_S: `${perSecond}` };
  const cluster = await startCluster({ nodes: options.nodes, postgres: true, nginx: false, env });
  try {
    await queryAt(
      cluster.postgres?.url ?? "",
      `insert into carillon.device (installation_id, user_id, token, platform)
       select 'd' || n, 'u' || n / ${DEVICES_PER_USER}, 'token-' || n, 'android' from generate_series(1, $1::int) n`,
      [devices],
    );
    const memory = cluster.nodes.map((node) => ({ before: rssMb(node), most: rssMb(node) }));
    const body = { userIds: "*", type: "SYSTEM_ALERT", title: "Storm", body: "Everybody" };
    const startedAt = performance.now();
    const answer = await api(cluster.url).post("/api/notify", body);
    if (answer.status !== 202) throw new Error(`notify answered ${answer.status}: ${answer.text}`);
    say(`${answer.body.entries} entries after ${Math.round(performance.now() - startedAt)} ms`);

    const seen: { readonly at: number; readonly sends: number }[] = [];
    let mostInAMinute = 0;
    await waitFor(
      async () => {
        const at = performance.now();
        seen.push({ at, sends: fcm.sends });
        while ((seen[0]?.at ?? at) < at - WINDOW_MS) seen.shift();
        mostInAMinute = Math.max(mostInAMinute, fcm.sends - (seen[0]?.sends ?? 0));
        cluster.nodes.forEach((node, i) => {
          const of = memory[i];
          if (of !== undefined) of.most = Math.max(of.most, rssMb(node));
        });
        if (Math.floor(at / 5000) !== Math.floor((at - 250) / 5000)) {
          const waiting = await cluster.nodes[0]?.metric("carillon_push_queue");
          say(`${fcm.accepted.size} pushed, carillon_push_queue ${waiting}`);
        }
        return fcm.accepted.size >= devices;
      },
      { what: "every device to be pushed", timeoutMs: MAX_MS, everyMs: 250, final: true },
    );
    const seconds = (performance.now() - startedAt) / 1000;
    await sleep(1000); // whatever would come twice
    return {
      machine: machine(),
      devices,
      pushed: [...fcm.accepted.values()].filter((times) => times === 1).length,
      seconds,
      perSecond: Math.round(devices / seconds),
      mostInAMinute,
      quotaOfAMinute: perSecond * (60 + BURST_S),
      memoryMb: memory,
    };
  } finally {
    await cluster.stop();
    await fcm.stop();
  }
}

function rssMb(node: NodeServer): number {
  return Math.round(residentBytes(node.pid) / 1024 / 1024);
}

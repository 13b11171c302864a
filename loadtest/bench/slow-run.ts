/** One run of `slow.ts`: clients stop reading while publications pass, and read on. What they heard is judged as in `npm run chaos`. */
import { setTimeout as sleep } from "node:timers/promises";
import { api, inspect } from "@carillon/testkit";
import { check, type Verdict } from "../chaos/checker/check.ts";
import type { ClientHistory, Publication } from "../chaos/checker/histories.ts";
import { Drivers } from "../chaos/driver/drivers.ts";
import type { ClientSpec } from "../chaos/driver/messages.ts";
import { Ledger } from "../chaos/load/ledger.ts";
import { RestIngress } from "../chaos/load/rest.ts";
import { Random } from "../chaos/random.ts";
import { settle } from "../chaos/settle.ts";
import { publish, type Subject } from "./subjects.ts";
import { kernelBytes, residentBytes } from "./usage.ts";

export const SLOW = 100;
export const HEALTHY = 50;
export const PER_SECOND = 300;
/** Publications after which memory is looked at; the last is all of them. */
export const MARKS = [0, 1000, 2500, 5000, 10_000] as const;
const ALONE = 1500;
const LANES = 8;
const SAMPLE_MS = 250;
/** More than a node keeps in memory by default: whatever grows from here on grows for the clients. */
const WARM_UP = 12_000;
const CHANNEL = "bench.slow";

export interface Sample {
  readonly published: number;
  readonly residentBytes: number;
  readonly kernelBytes: number;
  /** Connections that are off the live path; the stock stack has no such thing. */
  readonly behind: number;
}

export interface SlowRun {
  /** In use after the garbage was collected, heap and buffers, at each mark. */
  readonly liveBytes: readonly number[];
  /** While they did not read. */
  readonly samples: readonly Sample[];
  readonly slow: Verdict;
  readonly healthy: Verdict;
  /** Milliseconds from a call to a healthy reader, before the others came and while they did not read. */
  readonly alone: readonly number[];
  readonly beside: readonly number[];
}

/** The subject MUST have been started with `--inspect` on `inspectPort`. */
export async function runSlow(subject: Subject, bytes: number, inspectPort: number): Promise<SlowRun> {
  const ledger = new Ledger();
  const rest = new RestIngress({ url: subject.url, key: undefined, ledger, random: new Random(1) });
  const healthy = new Drivers(readers("healthy", HEALTHY));
  const slow = new Drivers(readers("slow", SLOW));
  const begin = { url: subject.url, token: undefined, stock: subject.name === "stock" };
  const inspector = await inspect(inspectPort);
  let answered = 0;
  const publishUpTo = (phase: string, from: number, to: number) =>
    paced(from, to, async (n, lane) => {
      await rest.message(`${phase}-${lane}.${n}`, CHANNEL, bytes);
      answered++;
    });
  try {
    for (let n = 0; n < WARM_UP; n += 50) await publish(subject, "bench.other", "x".repeat(bytes), 50);
    await healthy.begin(begin);
    await publishUpTo("alone", 0, ALONE);
    await slow.begin(begin);

    slow.freeze();
    answered = 0;
    const samples: Sample[] = [];
    const sampling = setInterval(() => void sample(subject, answered).then((one) => samples.push(one)), SAMPLE_MS);
    const liveBytes: number[] = [];
    for (const [index, mark] of MARKS.entries()) {
      await publishUpTo("beside", MARKS[index - 1] ?? 0, mark);
      liveBytes.push(await inspector.liveBytes());
    }
    clearInterval(sampling);

    slow.thaw();
    await settle(slow, rest);
    const [slowHistories, healthyHistories] = [await slow.finish(), await healthy.finish()];
    const published = (phase: string) => ledger.publications.filter(({ tag }) => tag.startsWith(phase));
    const owed = published("beside");
    return {
      liveBytes,
      samples,
      slow: check(owed, slowHistories),
      healthy: check(owed, healthyHistories),
      alone: delays(published("alone"), healthyHistories),
      beside: delays(owed, healthyHistories),
    };
  } finally {
    inspector.close();
    slow.stop();
    healthy.stop();
  }
}

function readers(name: string, count: number): ClientSpec[] {
  return Array.from({ length: count }, (_, n) => ({
    name: `${name}${n}`,
    user: `${name}${n}`,
    namespace: "/channels",
    transports: ["websocket"],
    channels: [CHANNEL],
    rooms: [],
    asksAgain: true,
    idsAsEvents: false,
  }));
}

/** In lanes, each of which waits for its answers: so a node that cannot keep up slows it down. */
async function paced(from: number, to: number, send: (n: number, lane: number) => Promise<void>): Promise<void> {
  const began = performance.now();
  await Promise.all(
    Array.from({ length: LANES }, async (_, lane) => {
      for (let n = from + lane; n < to; n += LANES) {
        const waitMs = began + ((n - from) * 1000) / PER_SECOND - performance.now();
        if (waitMs > 0) await sleep(waitMs);
        await send(n, lane);
      }
    }),
  );
}

async function sample(subject: Subject, published: number): Promise<Sample> {
  return {
    published,
    residentBytes: residentBytes(subject.pid),
    kernelBytes: kernelBytes(Number(new URL(subject.url).port)),
    behind: subject.name === "stock" ? 0 : await behind(subject.url),
  };
}

async function behind(url: string): Promise<number> {
  const { text } = await api(url).get("/metrics");
  return Number(/^carillon_slow_connections (\d+)$/m.exec(text)?.[1] ?? Number.NaN);
}

function delays(publications: readonly Publication[], histories: readonly ClientHistory[]): number[] {
  const sentAt = new Map(publications.map(({ tag, sentAt }) => [tag, sentAt]));
  const found: number[] = [];
  for (const { events } of histories)
    for (const event of events) {
      const since = event.kind === "heard" && event.tag !== undefined ? sentAt.get(event.tag) : undefined;
      if (since !== undefined) found.push(event.at - since);
    }
  return found;
}

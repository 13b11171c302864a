/** One scenario from an empty machine to a result: start everything, publish, break, heal, wait until all is heard, judge. */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Redis } from "ioredis";
import { check } from "./checker/check.ts";
import { crowd } from "./driver/crowd.ts";
import { Drivers } from "./driver/drivers.ts";
import { ClientIngress } from "./load/clients.ts";
import type { Ingress } from "./load/ingress.ts";
import { Ledger, now } from "./load/ledger.ts";
import { Load } from "./load/load.ts";
import { PostgresIngress } from "./load/postgres.ts";
import { publisherSettings, RedisIngress } from "./load/redis.ts";
import { RestIngress } from "./load/rest.ts";
import type { Options } from "./options.ts";
import { Random } from "./random.ts";
import type { ProgressLine } from "./report.ts";
import { type Result, resultOf } from "./result.ts";
import type { Scenario, Stage } from "./scenarios/scenario.ts";
import { settle } from "./settle.ts";
import { type Stack, startStack } from "./stack/stack.ts";

const pings = { full: { interval: 3_000, timeout: 3_000 }, short: { interval: 1_500, timeout: 1_500 } };
/** Until feeds of channels that were opened for the clients are carried by every node: see the relay. */
const warmUpMs = 2_500;
const answerGraceMs = 15_000;

export async function play(scenario: Scenario, options: Options, line: ProgressLine): Promise<Result> {
  const ping = options.short ? pings.short : pings.full;
  const stack = options.target ? undefined : await startOwn(scenario, options, ping);
  const url = options.target?.url ?? (stack as Stack).url;
  const drivers = new Drivers(crowd(options.clients));
  const ingresses: Ingress[] = [];
  try {
    await drivers.begin({ url, token: options.target?.token, stock: options.baseline });
    const ledger = new Ledger();
    const random = new Random(options.seed);
    const rest = new RestIngress({ url, key: options.target?.key, ledger, random: new Random(options.seed + 1) });
    ingresses.push(rest, ...otherIngresses(url, ledger, options, stack));
    const load = new Load(ingresses, options.rate);
    const startedAt = now();
    const events: string[] = [];
    const stage = new OwnStage(
      { stack, drivers, rest, random, short: options.short, pingMs: ping.interval + ping.timeout },
      (what) => {
        events.push(`${((now() - startedAt) / 1000).toFixed(2)}s ${what}`);
      },
    );

    const showing = setInterval(() => line.show(progressText(scenario, startedAt, ledger, drivers, events)), 200);
    let rounds = 0;
    let stuck: readonly string[] = [];
    try {
      load.start();
      await sleep(warmUpMs);
      for (; now() - startedAt < options.seconds * 1000; rounds++) await scenario.play(stage);
      await load.stop(answerGraceMs);
      stage.note("publishing ends");
      stuck = await settle(drivers, rest);
    } finally {
      clearInterval(showing);
      line.clear();
    }
    stage.note(stuck.length === 0 ? "all is heard" : `gave up waiting for ${stuck.join(", ")} and perhaps others`);

    const histories = await drivers.finish();
    if (options.keep !== undefined) {
      await keep(
        join(options.keep, scenario.name),
        { publications: ledger.publications, histories, events, startedAt },
        stack,
      );
    }
    const verdict = check(ledger.publications, histories);
    const deaths = stack?.placed.reduce((sum, { node }) => sum + node.deaths, 0) ?? 0;
    return resultOf({
      scenario,
      stock: options.baseline,
      publications: ledger.publications,
      verdict,
      stuck,
      deaths,
      rounds,
      events,
      startedAt,
    });
  } finally {
    drivers.stop();
    await Promise.all(ingresses.map((ingress) => ingress.close()));
    await stack?.stop();
  }
}

class OwnStage implements Stage {
  readonly drivers: Stage["drivers"];
  readonly rest: Stage["rest"];
  readonly random: Random;
  readonly short: boolean;
  readonly pingMs: number;
  readonly note: (what: string) => void;
  readonly #stack: Stack | undefined;

  constructor(
    parts: Omit<Stage, "note" | "pause" | "stack"> & { stack: Stack | undefined },
    note: (what: string) => void,
  ) {
    this.drivers = parts.drivers;
    this.rest = parts.rest;
    this.random = parts.random;
    this.short = parts.short;
    this.pingMs = parts.pingMs;
    this.note = note;
    this.#stack = parts.stack;
  }

  get stack(): Stack {
    if (this.#stack === undefined) throw new Error("this deployment is not ours to break");
    return this.#stack;
  }

  pause(ms: number): Promise<void> {
    return sleep(ms);
  }
}

function startOwn(scenario: Scenario, options: Options, ping: { interval: number; timeout: number }): Promise<Stack> {
  return startStack({
    kind: options.baseline ? "stock" : "carillon",
    nodes: options.nodes,
    spareNodes: scenario.spareNodes ?? 0,
    redis: scenario.redis ?? { appendonly: "always" },
    sentinel: scenario.sentinel ?? false,
    postgres: options.postgres,
    env: {
      PING_INTERVAL_MS: `${ping.interval}`,
      PING_TIMEOUT_MS: `${ping.timeout}`,
      ...scenario.env,
    },
  });
}

function otherIngresses(
  url: string,
  ledger: Ledger,
  { target, postgres }: Options,
  stack: Stack | undefined,
): Ingress[] {
  const ingresses: Ingress[] = [new ClientIngress({ url, token: target?.token, ledger })];
  const connect = stack ? () => stack.connectRedis() : redisOf(target?.redis);
  if (connect !== undefined) {
    for (const form of ["text", "json", "nest", "event"] as const)
      ingresses.push(new RedisIngress({ connect, ledger, form }));
  }
  const database = stack?.postgres?.url ?? target?.database;
  if (postgres && database !== undefined) {
    for (const form of ["publish", "refresh", "notify", "insert"] as const) {
      ingresses.push(new PostgresIngress({ url: database, ledger, form }));
    }
  }
  return ingresses;
}

function redisOf(url: string | undefined): (() => Redis) | undefined {
  return url === undefined ? undefined : () => new Redis(url, publisherSettings).on("error", () => {});
}

function progressText(
  scenario: Scenario,
  startedAt: number,
  ledger: Ledger,
  drivers: Drivers,
  events: readonly string[],
): string {
  const { connected, heard, gaps } = drivers.progress;
  const elapsed = ((now() - startedAt) / 1000).toFixed(0).padStart(3);
  const counts = `${ledger.publications.length} published, ${ledger.accepted} accepted, ${heard} heard, ${gaps} gaps told`;
  return `${scenario.name} ${elapsed} s: ${connected}/${drivers.specs.length} connected, ${counts} · ${events.at(-1) ?? ""}`;
}

async function keep(dir: string, found: object, stack: Stack | undefined): Promise<void> {
  await mkdir(dir, { recursive: true });
  await writeFile(join(dir, "run.json"), JSON.stringify(found));
  for (const { node } of stack?.placed ?? [])
    await writeFile(join(dir, `${node.name.replace(" ", "-")}.log`), node.lines.join("\n"));
}

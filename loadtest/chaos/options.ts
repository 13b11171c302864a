import { parseOptions, UsageError, wholeNumber } from "../command-line.ts";
import { createTable, watchTable } from "./load/postgres.ts";
import { scenarios } from "./scenarios/all.ts";
import type { Scenario } from "./scenarios/scenario.ts";

export interface Options {
  readonly scenarios: readonly Scenario[];
  readonly nodes: number;
  readonly clients: number;
  readonly seconds: number;
  readonly rate: number;
  readonly seed: number;
  readonly short: boolean;
  readonly baseline: boolean;
  readonly postgres: boolean;
  readonly json: string | undefined;
  readonly beside: string | undefined;
  readonly keep: string | undefined;
  readonly target: Target | undefined;
}

/** A deployment that is there already. */
export interface Target {
  readonly url: string;
  readonly redis: string | undefined;
  readonly database: string | undefined;
  readonly key: string | undefined;
  readonly token: string | undefined;
}

const MAX_SEED = 2 ** 32 - 1;

export const usage = `npm run chaos -- [options]

Starts a cluster with nginx, Redis and Postgres, clients and publishers, breaks things, and checks what every client heard: nothing
lost in silence, nothing twice, nothing out of order. The exit code says so.

  --scenario <a,b>   which to play, or "all" (the default); --list shows them
  --nodes <n>        default 3
  --clients <n>      stock Socket.IO clients; default 300 (30 with --short)
  --seconds <n>      how long to publish in each scenario; default 60 (8 with --short)
  --rate <n>         publications a second, over all ingresses; default 50
  --seed <n>         repeats the choices of another run; default: a new one, which is printed
  --short            a short form of each, for continuous integration
  --baseline         the stock stack instead: Socket.IO with its Redis adapter, LISTEN on each node
  --no-postgres      without Postgres: no publishers there, and no scenarios that break it
  --json <file>      writes everything that was found
  --beside <file>    prints it beside what a run with --baseline and --json has written
  --keep <dir>       keeps what every client heard, and the nodes' logs, of each scenario
  --list, --help

Against a deployment that is there already (only scenarios that break nothing but the run's own connections):

  --url <url>        its address
  --redis <url>      publishes there too
  --database <url>   publishes there too, once its owner has run:
                     ${createTable};
                     ${watchTable};
  --key <secret>     an API key, for REST
  --token <jwt>      what the clients come with; needs channels and rooms "*", and publish "chat"`;

/** What to print instead of a run, where that is asked for. */
export function readOptions(args: readonly string[]): Options | { readonly print: string } {
  const { values } = parse(args);
  if (values.help) return { print: usage };
  if (values.list) return { print: scenarios.map(({ name, about }) => `${name.padEnd(28)}${about}`).join("\n") };
  const short = values.short ?? false;
  const target = values.url === undefined ? undefined : targetOf(values.url, values);
  const postgres = target === undefined ? values["no-postgres"] !== true : target.database !== undefined;
  if (target === undefined && (values.redis ?? values.database ?? values.key ?? values.token) !== undefined) {
    throw new UsageError("--redis, --database, --key and --token go with --url");
  }
  if (target && values.baseline) throw new UsageError("--baseline starts its own cluster; leave out --url");
  return {
    scenarios: chosen(values.scenario ?? "all", { harmlessOnly: target !== undefined, postgres }),
    nodes: wholeNumber("nodes", values.nodes ?? "3", { least: 2, most: 16 }),
    clients: wholeNumber("clients", values.clients ?? (short ? "30" : "300"), { least: 10, most: 20_000 }),
    seconds: wholeNumber("seconds", values.seconds ?? (short ? "8" : "60"), { most: 86_400 }),
    rate: wholeNumber("rate", values.rate ?? "50", { most: 10_000 }),
    seed: wholeNumber("seed", values.seed ?? `${Math.floor(Math.random() * 1_000_000)}`, { least: 0, most: MAX_SEED }),
    short,
    baseline: values.baseline ?? false,
    postgres,
    json: values.json,
    beside: values.beside,
    keep: values.keep,
    target,
  };
}

function parse(args: readonly string[]) {
  const text = { type: "string" } as const;
  const flag = { type: "boolean" } as const;
  return parseOptions({
    args: [...args],
    options: {
      ...{
        scenario: text,
        nodes: text,
        clients: text,
        seconds: text,
        rate: text,
        seed: text,
        json: text,
        beside: text,
        keep: text,
      },
      ...{ url: text, redis: text, database: text, key: text, token: text },
      ...{ short: flag, baseline: flag, "no-postgres": flag, list: flag, help: flag },
    },
  });
}

function targetOf(url: string, values: { redis?: string; database?: string; key?: string; token?: string }): Target {
  if (!URL.canParse(url)) throw new UsageError(`--url ${url} is not a URL`);
  const { redis, database, key, token } = values;
  return { url: url.replace(/\/$/, ""), redis, database, key, token };
}

function chosen(names: string, { harmlessOnly, postgres }: { harmlessOnly: boolean; postgres: boolean }): Scenario[] {
  const possible = scenarios.filter(
    (scenario) => (!harmlessOnly || scenario.harmless) && (postgres || !scenario.needsPostgres),
  );
  if (names === "all") return possible;
  return names.split(",").map((name) => {
    const found = possible.find((scenario) => scenario.name === name.trim());
    if (found) return found;
    const known = scenarios.some((scenario) => scenario.name === name.trim());
    throw new UsageError(
      known ? `${name} cannot be played with these options` : `there is no scenario ${name}; see --list`,
    );
  });
}

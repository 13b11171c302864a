import { Command } from "commander";
import type { Finding } from "../doctor/finding.ts";
import { checkFront } from "../doctor/front.ts";
import { identityOf } from "../doctor/identity.ts";
import { checkNode, isAbsent } from "../doctor/node.ts";
import { checkPostgres } from "../doctor/postgres.ts";
import { checkRedis } from "../doctor/redis.ts";
import { printFinding, printSummary } from "../doctor/report.ts";
import { checkPublication } from "../doctor/round-trip.ts";
import { checkSettings, nodeEnv } from "../doctor/settings.ts";
import { EXIT, Failure } from "../failure.ts";
import type { Io } from "../io.ts";
import { type EndpointOptions, endpointOf, httpUrl, withEndpoint } from "../settings.ts";

interface Options extends EndpointOptions {
  readonly node?: URL[];
  readonly envFile?: string;
  readonly wait?: boolean;
  readonly strict?: boolean;
  readonly json?: boolean;
}

export function doctorCommand(io: Io): Command {
  const command = new Command("doctor")
    .description(
      "Look over a deployment: its settings, Redis, Postgres, the nodes, the balancer in front, and a publication from end to " +
        "end. Each finding comes with its fix. Nothing is changed; what is published goes to channel carillon:doctor.",
    )
    .option("--node <url>", "a node behind the balancer, by itself; may be repeated", nodeUrl)
    .option("--env-file <path>", "a file with the settings of the nodes, beside the environment")
    .option("--wait", "hold a connection until its first heartbeat (25 s), to find time limits in between")
    .option("--strict", "exit code 1 for warnings too")
    .option("--json", "a JSON object for each finding, one a line");
  return withEndpoint(command)
    .addHelpText(
      "after",
      `
Redis and Postgres are looked at with the settings of the nodes: run it where a node runs, with its environment.

Examples:
  carillon doctor
  carillon doctor --url https://realtime.example.com --node http://10.0.0.5:3000 --env-file .env --wait
  carillon doctor --json | jq 'select(.status == "problem")'`,
    )
    .action((options: Options) => doctor(options, io));
}

async function doctor(options: Options, io: Io): Promise<void> {
  const endpoint = endpointOf(options, io);
  const { url } = endpoint;
  const env = nodeEnv(options.envFile, io.env);
  const { settings, findings } = await checkSettings(env);
  const identity = await identityOf(endpoint, settings);
  const entrance = checkNode(url);
  // What can't be reached at all is told once.
  const behind = async (check: () => Promise<readonly Finding[]>) => ((await entrance).some(isAbsent) ? [] : check());
  // All at once, since some wait; told in this order.
  const parts: Promise<readonly Finding[]>[] = [
    Promise.resolve(findings),
    ...(settings === undefined ? [] : [checkRedis(settings), checkPostgres(settings)]),
    entrance,
    ...(options.node ?? []).map(checkNode),
    behind(() => checkFront({ url, token: identity.token, wait: options.wait === true })),
    behind(() => checkPublication(url, identity, io.signal)),
  ];
  const all: Finding[] = [];
  for (const part of parts) {
    for (const finding of await part) {
      all.push(finding);
      if (options.json === true) io.out.write(`${JSON.stringify(finding)}\n`);
      else printFinding(finding, io);
    }
  }
  if (options.json !== true) printSummary(all, io);
  const bad = options.strict === true ? ["problem", "warning"] : ["problem"];
  if (all.some(({ status }) => bad.includes(status))) throw new Failure("", undefined, EXIT.failure);
}

function nodeUrl(text: string, before: URL[] = []): URL[] {
  return [...before, httpUrl(text)];
}

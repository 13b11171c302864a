import { Command } from "commander";
import { type Io, paint, printable } from "../io.ts";
import { call } from "../rest.ts";
import { type EndpointOptions, endpointOf, withEndpoint } from "../settings.ts";
import { table } from "../table.ts";

interface Options extends EndpointOptions {
  readonly json?: boolean;
}

/** As far as it is shown. */
interface Node {
  readonly name: string;
  readonly host: string;
  readonly version: string;
  readonly startedAt: string;
  readonly state: string;
  readonly readiness: string;
  readonly problems: Readonly<Record<string, string>>;
  readonly transports: Readonly<Record<string, number>>;
  readonly users: number;
  readonly position: string | null;
  readonly behind: number;
  readonly leases: readonly string[];
  readonly eventLoopLagMs: { readonly p99: number };
  readonly memory: { readonly rssBytes: number };
}

export function nodesCommand(io: Io): Command {
  const command = new Command("nodes")
    .description("The nodes of the cluster, as any of them sees it. Takes the right operate.")
    .option("--json", "print the node's answer");
  return withEndpoint(command)
    .addHelpText(
      "after",
      "\nExamples:\n  carillon nodes\n  carillon nodes --json | jq '.nodes[] | select(.behind > 0)'",
    )
    .action((options: Options) => nodes(options, io));
}

async function nodes(options: Options, io: Io): Promise<void> {
  const answer = await call<{ nodes: readonly Node[]; complete: boolean }>(endpointOf(options, io), "/api/nodes", io);
  if (options.json === true) return io.out.write(`${JSON.stringify(answer)}\n`);
  const head = [
    "NAME",
    "HOST",
    "VERSION",
    "STATE",
    "CLIENTS",
    "USERS",
    "POSITION",
    "BEHIND",
    "LAG",
    "MEMORY",
    "UP",
    "HOLDS",
  ];
  io.out.write(table([head, ...answer.nodes.map(row)]));
  for (const { name, problems } of answer.nodes) {
    for (const [check, reason] of Object.entries(problems)) {
      io.out.write(`${paint(io.out, "yellow", name)}  ${check}: ${printable(reason)}\n`);
    }
  }
  if (!answer.complete) io.err.write("warning: the bus is away, and this node answers for itself alone\n");
}

function row(node: Node): string[] {
  return [
    node.name,
    printable(node.host),
    node.version,
    node.readiness === "ok" ? node.state : `${node.state}, ${node.readiness}`,
    String(Object.values(node.transports).reduce((sum, count) => sum + count, 0)),
    String(node.users),
    node.position ?? "-",
    String(node.behind),
    `${node.eventLoopLagMs.p99.toFixed(0)} ms`,
    `${Math.round(node.memory.rssBytes / 1024 / 1024)} MiB`,
    duration((Date.now() - Date.parse(node.startedAt)) / 1000),
    node.leases.join(" ") || "-",
  ];
}

function duration(seconds: number): string {
  if (seconds < 120) return `${Math.max(0, Math.round(seconds))} s`;
  if (seconds < 2 * 3600) return `${Math.round(seconds / 60)} min`;
  if (seconds < 2 * 86_400) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86_400)} d`;
}

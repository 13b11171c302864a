import { Command } from "commander";
import type { Io } from "../io.ts";
import { call } from "../rest.ts";
import { type EndpointOptions, endpointOf, withEndpoint } from "../settings.ts";
import { table } from "../table.ts";

interface Options extends EndpointOptions {
  readonly limit?: string;
  readonly json?: boolean;
}

interface Answer {
  readonly channels: readonly { readonly channel: string; readonly subscribers: number; readonly perSecond: number }[];
  readonly total: number;
  readonly complete: boolean;
}

export function channelsCommand(io: Io): Command {
  const command = new Command("channels")
    .description("Channels with subscribers or recent publications, busiest first. Takes the right operate.")
    .option("--limit <n>", "at most so many", "50")
    .option("--json", "print the node's answer");
  return withEndpoint(command)
    .addHelpText("after", "\nExamples:\n  carillon channels --limit 10\n  carillon channels --json | jq .total")
    .action((options: Options) => channels(options, io));
}

async function channels(options: Options, io: Io): Promise<void> {
  const path = `/api/channels?limit=${encodeURIComponent(options.limit ?? "")}`;
  const answer = await call<Answer>(endpointOf(options, io), path, io);
  if (options.json === true) return io.out.write(`${JSON.stringify(answer)}\n`);
  const rows = answer.channels.map(({ channel, subscribers, perSecond }) => [
    channel,
    String(subscribers),
    perSecond.toFixed(1),
  ]);
  io.out.write(table([["CHANNEL", "SUBSCRIBERS", "PER SECOND"], ...rows]));
  const left = answer.total - answer.channels.length;
  if (left > 0) io.err.write(`${left} more\n`);
  if (!answer.complete) io.err.write("warning: not all nodes are counted, or not all of their channels\n");
}

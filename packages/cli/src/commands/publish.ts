import { Command } from "commander";
import { Failure, usage } from "../failure.ts";
import type { Io } from "../io.ts";
import {
  audienceOf,
  channelName,
  jsonText,
  type PublishingOptions,
  report,
  send,
  withPublishing,
} from "./publishing.ts";

interface Options extends PublishingOptions {
  readonly text?: boolean;
}

interface BatchAnswer {
  readonly results: readonly { readonly id?: string; readonly error?: { readonly code: string; message: string } }[];
}

export function publishCommand(io: Io): Command {
  const command = new Command("publish")
    .description("Publish a message on a channel. Prints its id and channel once it is in the log.")
    .argument("<channel>", "the channel")
    .argument("[payload]", "any JSON; - or nothing reads it from standard input")
    .option("--text", "the payload is text, not JSON");
  return withPublishing(command)
    .addHelpText(
      "after",
      `
Examples:
  carillon publish orders '{"id":7,"status":"paid"}'
  carillon publish chat --text 'back in five minutes' --to-rooms trip:42
  pg_dump --schema-only app | jq -Rs . | carillon publish schema -`,
    )
    .action((channel: string, payload: string | undefined, options: Options) => publish(channel, payload, options, io));
}

async function publish(name: string, argument: string | undefined, options: Options, io: Io): Promise<void> {
  const channel = channelName(name);
  const text = argument === undefined || argument === "-" ? await fromStdin(argument, io) : argument;
  if (text === "" && options.text !== true)
    throw usage("the payload is empty", "write null for a message without content");
  const payload =
    options.text === true ? JSON.stringify(text) : jsonText(text, "payload", ", or say --text to send it as a string");
  const to = audienceOf(options);
  if (to === undefined) {
    report(await send(`/api/notifications/${encodeURIComponent(channel)}`, payload, options, io), options, io);
    return;
  }
  // The call for one message has no place for `to`.
  const head = `"channel":${JSON.stringify(channel)},"to":${JSON.stringify(to)}`;
  const body = `{"publications":[{${head},"payload":${payload}}]}`;
  const { results } = await send<BatchAnswer>("/api/publications", body, options, io);
  const { id, error } = results[0] ?? {};
  if (id === undefined) throw new Failure(`the node refuses: ${error?.message} (${error?.code})`);
  report({ id, channel }, options, io);
}

async function fromStdin(argument: string | undefined, io: Io): Promise<string> {
  if (argument === undefined && io.stdin.isTTY === true) {
    throw usage("there is no payload", `carillon publish <channel> '{"id":7}'`);
  }
  const chunks: Uint8Array[] = [];
  for await (const chunk of io.stdin) chunks.push(typeof chunk === "string" ? Buffer.from(chunk) : chunk);
  return Buffer.concat(chunks).toString("utf8");
}

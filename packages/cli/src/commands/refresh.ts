import { SCOPE_ALL } from "@carillon/protocol";
import { Command } from "commander";
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
  readonly payload?: string;
}

export function refreshCommand(io: Io): Command {
  const command = new Command("refresh")
    .description(
      'Tell clients of a refresh namespace to fetch again. The scope says what changed; without one it is "ALL".',
    )
    .argument("<namespace>", "trips, users, notifications, …")
    .argument("[scope]", "what changed", SCOPE_ALL)
    .option("--payload <json>", "goes along");
  return withPublishing(command)
    .addHelpText(
      "after",
      `
Examples:
  carillon refresh trips TRIP_APPROVED
  carillon refresh trips TRIP_APPROVED --to-users 42,43 --payload '{"tripId":42}'
  carillon refresh users --to-roles admin --json`,
    )
    .action((namespace: string, scope: string, options: Options) => refresh(namespace, scope, options, io));
}

async function refresh(name: string, scope: string, options: Options, io: Io): Promise<void> {
  const namespace = channelName(name);
  const to = audienceOf(options);
  const payload = options.payload === undefined ? undefined : jsonText(options.payload, "payload");
  const parts = [
    `"scope":${JSON.stringify(scope)}`,
    ...(to === undefined ? [] : [`"to":${JSON.stringify(to)}`]),
    ...(payload === undefined ? [] : [`"payload":${payload}`]),
  ];
  report(await send(`/api/refresh/${encodeURIComponent(namespace)}`, `{${parts.join(",")}}`, options, io), options, io);
}

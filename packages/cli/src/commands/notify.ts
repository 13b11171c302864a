import { randomUUID } from "node:crypto";
import { Command } from "commander";
import { usage } from "../failure.ts";
import type { Io } from "../io.ts";
import { call } from "../rest.ts";
import { type EndpointOptions, endpointOf, withEndpoint } from "../settings.ts";
import { jsonText, list } from "./publishing.ts";

interface Options extends EndpointOptions {
  readonly users?: string[];
  readonly everybody?: boolean;
  readonly title: string;
  readonly body: string;
  readonly data?: string;
  readonly push: boolean;
  readonly idempotencyKey?: string;
  readonly json?: boolean;
}

export function notifyCommand(io: Io): Command {
  const command = new Command("notify")
    .description(
      "Notify users: an entry in the inbox of each, a refresh that tells them, and a push where nobody looks.",
    )
    .argument("<type>", "what it is about: TRIP_APPROVED")
    .option("--users <ids>", "whom; commas part several", list)
    .option("--everybody", "every user with a device or an inbox entry")
    .requiredOption("--title <text>", "its title")
    .requiredOption("--body <text>", "its text")
    .option("--data <json>", "an object for the application")
    .option("--no-push", "inbox and refresh alone")
    .option("--idempotency-key <key>", "notified once however often it is sent (default: one for each call)")
    .option("--json", "print the node's answer");
  return withEndpoint(command)
    .addHelpText(
      "after",
      `
Examples:
  carillon notify TRIP_APPROVED --users 42 --title 'Trip approved' --body 'Have a good trip.' --data '{"tripId":"42"}'
  carillon notify MAINTENANCE --everybody --title 'Tonight' --body 'We are away from 2 to 3.' --no-push`,
    )
    .action((type: string, options: Options) => notify(type, options, io));
}

async function notify(type: string, options: Options, io: Io): Promise<void> {
  const { users, everybody = false, title, body, data, push, idempotencyKey = randomUUID() } = options;
  if ((users === undefined) !== everybody)
    throw usage("say whom to notify", "--users 42,43 or --everybody, one of the two");
  const parts = { userIds: users ?? "*", type, title, body, push };
  const text = JSON.stringify(parts);
  const answer = await call<{ eventId: string; entries: number }>(endpointOf(options, io), "/api/notify", {
    method: "POST",
    body: data === undefined ? text : `${text.slice(0, -1)},"data":${jsonText(data, "data")}}`,
    idempotencyKey,
    signal: io.signal,
  });
  const pretty = `${answer.eventId}  ${answer.entries} ${answer.entries === 1 ? "entry" : "entries"}`;
  io.out.write(`${options.json === true ? JSON.stringify(answer) : pretty}\n`);
}

import { Command } from "commander";
import { EXIT, Failure } from "../failure.ts";
import { type Io, printable } from "../io.ts";
import { call } from "../rest.ts";
import { type EndpointOptions, endpointOf, withEndpoint } from "../settings.ts";
import { table } from "../table.ts";

interface Filter extends EndpointOptions {
  readonly user?: string;
  readonly installation?: string;
  readonly event?: string;
  readonly limit?: string;
  readonly json?: boolean;
}

interface TestOptions extends Filter {
  readonly title?: string;
  readonly body?: string;
  readonly validateOnly?: boolean;
}

interface AttemptsOptions extends Filter {
  readonly outcome?: string;
  readonly cursor?: string;
}

interface Tested {
  readonly results: readonly {
    readonly userId: string;
    readonly installationId: string;
    readonly platform: string;
    readonly ok: boolean;
    readonly fcmCode?: string;
    readonly reason?: string;
    readonly message?: string;
  }[];
}

interface Attempts {
  readonly attempts: readonly {
    readonly eventId: string;
    readonly userId: string;
    readonly installationId: string;
    readonly attempt: number;
    readonly outcome: string;
    readonly reason: string | null;
    readonly at: string;
  }[];
  readonly cursor: string | null;
}

export function pushCommand(io: Io): Command {
  return new Command("push")
    .description(
      "Pushes to devices: try one, see what became of them, send again what failed. Takes the right operate.",
    )
    .addHelpText("after", "\nExamples:\n  carillon push test --user 42\n  carillon push attempts --outcome failed")
    .addCommand(testCommand(io))
    .addCommand(attemptsCommand(io))
    .addCommand(redriveCommand(io));
}

function testCommand(io: Io): Command {
  const command = new Command("test")
    .description(
      "Push to devices now, past decision and queue, and see FCM's answer. Exit code 1 where FCM refuses one.",
    )
    .option("--user <id>", "whose devices")
    .option("--installation <id>", "which device")
    .option("--title <text>", "its title")
    .option("--body <text>", "its text")
    .option("--validate-only", "FCM looks at it and sends nothing")
    .option("--json", "print the node's answer");
  return withEndpoint(command)
    .addHelpText(
      "after",
      "\nExamples:\n  carillon push test --user 42\n  carillon push test --installation pixel-7 --validate-only",
    )
    .action((options: TestOptions) => testPush(options, io));
}

function attemptsCommand(io: Io): Command {
  const command = new Command("attempts")
    .description("What became of pushes, newest first.")
    .option("--outcome <outcome>", "sent, failed, …; failed ones are the dead letters")
    .option("--limit <n>", "at most so many", "50")
    .option("--cursor <cursor>", "the page after this one")
    .option("--json", "print the node's answer");
  return withEndpoint(withFilter(command))
    .addHelpText(
      "after",
      "\nExamples:\n  carillon push attempts --user 42\n  carillon push attempts --outcome failed --json",
    )
    .action((options: AttemptsOptions) => listAttempts(options, io));
}

function redriveCommand(io: Io): Command {
  const command = new Command("redrive")
    .description("Send dead letters again, the oldest first; without a filter all of them, up to the limit.")
    .option("--limit <n>", "at most so many", "1000")
    .option("--json", "print the node's answer");
  return withEndpoint(withFilter(command))
    .addHelpText("after", "\nExamples:\n  carillon push redrive --user 42\n  carillon push redrive --limit 10000")
    .action((options: Filter) => redrive(options, io));
}

function withFilter(command: Command): Command {
  return command
    .option("--user <id>", "to devices of this user")
    .option("--installation <id>", "to this device")
    .option("--event <id>", "of this event");
}

async function testPush(options: TestOptions, io: Io): Promise<void> {
  const { user, installation, title, body, validateOnly } = options;
  const request = { userId: user, installationId: installation, title, body, validateOnly };
  const answer = await post<Tested>("/api/push/test", request, options, io);
  if (options.json === true) io.out.write(`${JSON.stringify(answer)}\n`);
  else {
    const rows = answer.results.map((result) => [
      result.userId,
      result.installationId,
      result.platform,
      result.ok ? "taken" : "refused",
      [result.reason, result.fcmCode, result.message].filter((part) => part !== undefined).join(": "),
    ]);
    io.out.write(printable(table([["USER", "DEVICE", "PLATFORM", "FCM", "WHY"], ...rows])));
  }
  if (!answer.results.every(({ ok }) => ok)) throw new Failure("", undefined, EXIT.failure);
}

async function listAttempts(options: AttemptsOptions, io: Io): Promise<void> {
  const { outcome, limit, cursor } = options;
  const query = new URLSearchParams(JSON.parse(JSON.stringify({ ...whom(options), outcome, limit, cursor })));
  const answer = await call<Attempts>(endpointOf(options, io), `/api/push/attempts?${query}`, io);
  if (options.json === true) return io.out.write(`${JSON.stringify(answer)}\n`);
  const rows = answer.attempts.map((one) => [
    one.at,
    one.outcome,
    String(one.attempt),
    one.userId,
    one.installationId,
    one.eventId,
    one.reason ?? "-",
  ]);
  io.out.write(printable(table([["AT", "OUTCOME", "ATTEMPT", "USER", "DEVICE", "EVENT", "REASON"], ...rows])));
  if (answer.cursor !== null) io.err.write(`go on by --cursor ${answer.cursor}\n`);
}

async function redrive(options: Filter, io: Io): Promise<void> {
  const request = { ...whom(options), limit: Number(options.limit) };
  const answer = await post<{ redriven: number }>("/api/push/redrive", request, options, io);
  io.out.write(options.json === true ? `${JSON.stringify(answer)}\n` : `${answer.redriven} sent again\n`);
}

function whom({ user, installation, event }: Filter): object {
  return { userId: user, installationId: installation, eventId: event };
}

/** Without an idempotency key, and so never sent twice. */
function post<T>(path: string, body: object, options: EndpointOptions, io: Io): Promise<T> {
  const { signal } = io;
  return call<T>(endpointOf(options, io), path, { method: "POST", body: JSON.stringify(body), signal });
}

import { ClientError, createClient, type Message, type Refresh } from "@carillon/client";
import { Command } from "commander";
import { Failure, usage } from "../failure.ts";
import { type Io, paint, printable } from "../io.ts";
import { type EndpointOptions, endpointOf, withEndpoint } from "../settings.ts";
import { channelName, list } from "./publishing.ts";

interface Options extends EndpointOptions {
  readonly since?: string;
  readonly limit?: number;
  readonly rooms?: string[];
  readonly user?: string;
  readonly json?: boolean;
}

/** In the words of the wire, as on `/ws`. */
type Heard =
  | ({ readonly type: "notification"; readonly payload?: unknown; readonly truncated?: unknown } & Message)
  | { readonly type: "REFRESH"; channel: string; id: string; timestamp: string; scope: string; payload?: unknown }
  | { readonly type: "gap"; readonly channel: string; readonly id: string };

/** A reader that is this far behind is told so: it would cost ever more memory. */
const MAX_PENDING_BYTES = 64 * 1024 * 1024;
const IMPATIENT_MS = 3_000;

export function tailCommand(io: Io): Command {
  const command = new Command("tail")
    .description(
      "Listen to channels, refresh namespaces too, and print what comes, until Ctrl-C. After a lost connection it goes on where it " +
        "was, on any node; what can't be repaired is told as a gap.",
    )
    .argument("<channels...>", "the channels")
    .option("--since <id>", "also what came after this id, as far as the log reaches")
    .option("--limit <n>", "end after this many publications", wholeNumber)
    .option("--rooms <rooms>", "join these rooms of each channel; commas part several", list)
    .option("--user <id>", "who to be where AUTH=off")
    .option("--json", "a JSON object for each, one a line");
  return withEndpoint(command)
    .addHelpText(
      "after",
      `
API keys don't listen: it takes a user's token, unless AUTH=off.

Examples:
  carillon tail orders trips
  carillon tail orders --since 1764086400000-1 --json | jq .payload
  carillon tail chat --rooms trip:42 --limit 1
  CARILLON_TOKEN=$(carillon token --sub 42 --channels orders) carillon tail orders`,
    )
    .action((channels: string[], options: Options) => tail(channels.map(channelName), options, io));
}

async function tail(channels: readonly string[], options: Options, io: Io): Promise<void> {
  const { url, token } = endpointOf(options, io);
  const over = Promise.withResolvers<void>();
  const end = () => over.resolve();
  io.signal.addEventListener("abort", end, { once: true });
  if (io.signal.aborted) return;
  const client = createClient({
    url: url.origin,
    ...(token !== undefined && { token }),
    ...(options.user !== undefined && { auth: { user: options.user } }),
    // Needs no stickiness of the balancer, and keeps no cookie that would give it some.
    socket: { transports: ["websocket", "polling"], tryAllTransports: true },
    onError: (error) => io.err.write(`${paint(io.err, "yellow", "warning:")} ${error.message} (${error.code})\n`),
  });
  // Somebody who debugs looks at a terminal, not at the application: their phone still gets its pushes.
  client.setForeground(false);
  const printer = new Printer(options, io, end, over.reject);
  try {
    const subscriptions = channels.map((channel) => {
      const { ready } = client.subscribe(
        channel,
        (payload, message) => printer.print({ type: "notification", ...message, payload }),
        {
          ...(options.since !== undefined && { since: options.since }),
          onRefresh: (refresh) => printer.print(asHeard(channel, refresh)),
          onGap: (gap) => printer.gap(channel, gap.id, gap.truncated),
        },
      );
      const rooms = (options.rooms ?? []).map((room) => client.join(room, { channel }).ready);
      return Promise.all([ready, ...rooms]);
    });
    const listening = Promise.all(subscriptions);
    listening.catch((error: unknown) => over.reject(refusal(error)));
    tellStatus(client, url, listening, over.reject, io);
    await over.promise;
  } finally {
    client.close();
    io.signal.removeEventListener("abort", end);
    printer.done();
  }
}

/** On standard error: when it listens, and when the connection goes and comes back. Fails where it is refused for good. */
function tellStatus(
  client: ReturnType<typeof createClient>,
  url: URL,
  listening: Promise<unknown>,
  fail: (error: unknown) => void,
  io: Io,
): void {
  const tell = (text: string) => io.err.write(`${paint(io.err, "dim", text)}\n`);
  const nodeNow = () => (client.status.state === "connected" ? client.status.node : undefined);
  const impatient = setTimeout(() => tell(`nothing listens at ${url.origin} yet; trying on`), IMPATIENT_MS);
  let hasListened = false;
  let lost = false;
  listening
    .then(() => {
      hasListened = true;
      tell(`listening at node ${nodeNow()}`);
    })
    .catch(() => {}) // told by whoever waits for it
    .finally(() => clearTimeout(impatient));
  client.onStatus((status) => {
    if (status.state === "refused") fail(refusal(new ClientError(status.code, `the node refuses: ${status.code}`)));
    if (status.state === "closed") clearTimeout(impatient);
    if (!hasListened) return;
    if (status.state === "connected" && lost) tell(`back, listening at node ${status.node}`);
    if (status.state === "connecting" && !lost) tell("the connection is lost; coming back");
    lost = status.state !== "connected";
  });
}

class Printer {
  readonly #options: Options;
  readonly #io: Io;
  readonly #end: () => void;
  readonly #fail: (error: Failure) => void;
  #printed = 0;
  #last: string | undefined;

  constructor(options: Options, io: Io, end: () => void, fail: (error: Failure) => void) {
    this.#options = options;
    this.#io = io;
    this.#end = end;
    this.#fail = fail;
  }

  print(heard: Heard): void {
    const { limit, json } = this.#options;
    if (this.#printed === limit || this.#io.signal.aborted) return;
    this.#io.out.write(json === true ? `${JSON.stringify(heard)}\n` : pretty(heard, this.#io));
    this.#last = heard.id;
    if (heard.type !== "gap") this.#printed += 1;
    if (this.#printed === limit) this.#end();
    if (this.#io.out.pendingBytes > MAX_PENDING_BYTES) {
      this.#fail(new Failure("the reader is too slow for what comes", `go on by --since ${heard.id}`));
    }
  }

  gap(channel: string, id: string, truncated: unknown): void {
    if (truncated === undefined) this.print({ type: "gap", channel, id });
    else this.print({ type: "notification", channel, id, timestamp: now(), truncated });
  }

  done(): void {
    if (this.#last === undefined || this.#options.json === true) return;
    this.#io.err.write(`${paint(this.#io.err, "dim", `go on from here by --since ${this.#last}`)}\n`);
  }
}

function asHeard(channel: string, { scope, payload, id }: Refresh): Heard {
  return { type: "REFRESH", channel, scope, id, timestamp: now(), ...(payload !== undefined && { payload }) };
}

function pretty(heard: Heard, { out }: Io): string {
  const channel = paint(out, "cyan", heard.channel);
  if (heard.type === "gap") {
    return `${paint(out, "yellow", "gap")}  ${channel}  something up to ${heard.id} may be missing\n`;
  }
  const time = paint(out, "dim", heard.timestamp.slice(11, 23));
  const parts = heard.type === "REFRESH" ? [paint(out, "bold", heard.scope)] : [];
  if (heard.type === "notification" && heard.from !== undefined) parts.push(`from ${printable(heard.from)}:`);
  if (heard.payload !== undefined) parts.push(JSON.stringify(heard.payload));
  if (heard.type === "notification" && heard.truncated !== undefined) {
    parts.push(`too large to be sent along: ${JSON.stringify(heard.truncated)}`);
  }
  return `${time}  ${channel}  ${printable(parts.join(" "))}  ${paint(out, "dim", heard.id)}\n`;
}

function refusal(error: unknown): unknown {
  if (!(error instanceof ClientError)) return error;
  const fixes: Readonly<Record<string, string>> = {
    UNAUTHENTICATED:
      "set CARILLON_TOKEN to a token that this node can verify; carillon token makes one for development",
    TOKEN_EXPIRED: "get a new token; carillon token makes one for development",
    REVOKED: "log in anew: what was issued before does not count any more",
    FORBIDDEN: 'use a token whose claim "channels" (and "rooms") allows it',
  };
  const { code, message } = error;
  return new Failure(message.includes(code) ? message : `${message} (${code})`, fixes[code]);
}

function wholeNumber(text: string): number {
  if (!/^[1-9]\d{0,8}$/.test(text)) throw usage(`--limit ${text} is not a number from 1 on`);
  return Number(text);
}

function now(): string {
  return new Date().toISOString();
}

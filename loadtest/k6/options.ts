import { parseOptions, UsageError, wholeNumber } from "../command-line.ts";

export const SCENARIOS = {
  connect: "everybody connects within the run",
  fanout: "a steady stream to everybody",
  storm: "batches of a hundred, few listeners",
  reconnect: "everybody loses the connection in mid-stream and resumes",
  mixed: "most stay, some come and go; small and large messages, batches",
} as const;
export type ScenarioName = keyof typeof SCENARIOS;

export interface Options {
  readonly scenario: ScenarioName;
  readonly clients: number;
  readonly seconds: number;
  readonly rate: number;
  readonly nodes: number;
  readonly out: string;
  /** A deployment that is there already. */
  readonly target:
    | { readonly url: string; readonly key: string | undefined; readonly token: string | undefined }
    | undefined;
}

export const usage = `npm run load -- <scenario> [options]

k6 plays many clients that speak Socket.IO and publishers that speak REST, and counts what is lost, doubled or out of order. Starts
nodes behind nginx with Redis, unless --url names a deployment that is there already. The exit code is 1 when something was lost,
doubled or out of order.

${Object.entries(SCENARIOS)
  .map(([name, about]) => `  ${name.padEnd(12)} ${about}`)
  .join("\n")}

  --clients <n>      default 300
  --seconds <n>      how long to publish; default 60
  --rate <n>         publications a second; default 50 (storm: twenty times that, in batches)
  --nodes <n>        default 3
  --smoke            60 clients and 10 seconds, where nothing else is said
  --out <dir>        where the summary (JSON) and the charts (HTML) go; default results

  --url <url>        a deployment, as its clients reach it
  --key <secret>     an API key that may publish on channel "load"
  --token <jwt>      a client's token that may subscribe to it
  --help`;

export function readOptions(args: readonly string[]): Options | { readonly print: string } {
  const { values, positionals } = parse(args);
  if (values.help) return { print: usage };
  const [scenario = "", ...others] = positionals;
  if (!Object.hasOwn(SCENARIOS, scenario) || others.length > 0)
    throw new UsageError(`name one scenario: ${Object.keys(SCENARIOS).join(", ")}`);
  if ((values.key ?? values.token) !== undefined && values.url === undefined)
    throw new UsageError("--key and --token are for a deployment: name it by --url");
  return {
    scenario: scenario as ScenarioName,
    clients: wholeNumber("clients", values.clients ?? (values.smoke ? "60" : "300")),
    seconds: wholeNumber("seconds", values.seconds ?? (values.smoke ? "10" : "60")),
    rate: wholeNumber("rate", values.rate ?? "50"),
    nodes: wholeNumber("nodes", values.nodes ?? "3"),
    out: values.out ?? "results",
    target:
      values.url === undefined
        ? undefined
        : { url: values.url.replace(/\/$/, ""), key: values.key, token: values.token },
  };
}

function parse(args: readonly string[]) {
  const text = { type: "string" } as const;
  return parseOptions({
    args: [...args],
    allowPositionals: true,
    options: {
      clients: text,
      seconds: text,
      rate: text,
      nodes: text,
      out: text,
      url: text,
      key: text,
      token: text,
      smoke: { type: "boolean" },
      help: { type: "boolean", short: "h" },
    },
  });
}

/** `npm run bench -- <name …>`: the product beside the stock stack, in one run on one machine; ratios are what counts. */
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { provide } from "../../scripts/provide.ts";
import { parseOptions, readOrExit, wholeNumber } from "../command-line.ts";
import { append } from "./append.ts";
import type { Bench, BenchOptions } from "./bench.ts";
import { capture } from "./capture.ts";
import { clients } from "./clients.ts";
import { connect } from "./connect.ts";
import { fanout } from "./fanout.ts";
import { hop } from "./hop.ts";
import { idle } from "./idle.ts";
import { latency } from "./latency.ts";
import { machine } from "./machine.ts";
import { publish } from "./publish.ts";
import { reconnect } from "./reconnect.ts";
import { scale } from "./scale.ts";
import { slow } from "./slow.ts";
import { stall } from "./stall.ts";
import { printTable, type Table } from "./table.ts";
import { writes } from "./writes.ts";

const BENCHES: readonly Bench[] = [
  writes,
  capture,
  latency,
  hop,
  append,
  fanout,
  stall,
  idle,
  clients,
  connect,
  publish,
  reconnect,
  scale,
  slow,
];

const { values, positionals } = readOrExit(() =>
  parseOptions({
    allowPositionals: true,
    options: {
      rounds: { type: "string", default: "3" },
      seconds: { type: "string", default: "5" },
      json: { type: "string" },
      list: { type: "boolean", default: false },
      help: { type: "boolean", short: "h", default: false },
    },
  }),
);

if (values.help || values.list || positionals.length === 0) {
  console.log("usage: npm run bench -- <name …|all> [--rounds 3] [--seconds 5] [--json results/bench.json]\n");
  for (const { name, about } of BENCHES) console.log(`  ${name.padEnd(10)} ${about}`);
  process.exit(values.help || values.list ? 0 : 2);
}
const unknown = positionals.filter((name) => name !== "all" && !BENCHES.some((bench) => bench.name === name));
if (unknown.length > 0) {
  console.error(`no benchmark is called ${unknown.join(", ")}; --list names them`);
  process.exit(2);
}

const options: BenchOptions = readOrExit(() => ({
  rounds: wholeNumber("rounds", values.rounds),
  seconds: wholeNumber("seconds", values.seconds),
  progress: (line) => process.stderr.write(`  ${line}\n`),
}));
const results: Record<string, Table[]> = {};
provide(["redis-server"]);
console.log(machine());
for (const bench of BENCHES) {
  if (!positionals.includes("all") && !positionals.includes(bench.name)) continue;
  process.stderr.write(`${bench.name}: ${bench.about}\n`);
  results[bench.name] = await bench.run(options);
  for (const table of results[bench.name] ?? []) printTable(table);
}
if (values.json !== undefined) {
  mkdirSync(dirname(values.json), { recursive: true });
  writeFileSync(
    values.json,
    `${JSON.stringify({ machine: machine(), rounds: options.rounds, seconds: options.seconds, results }, null, 2)}\n`,
  );
}
process.exit();

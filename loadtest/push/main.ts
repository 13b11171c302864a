/** `npm run push-chaos` and `npm run push-storm`: what becomes of pushes when everything fails, and when there are very many. */
import { provide } from "../../scripts/provide.ts";
import { parseOptions, readOrExit, wholeNumber } from "../command-line.ts";
import { pushChaos } from "./chaos.ts";
import { pushStorm } from "./storm.ts";

const { values, positionals } = readOrExit(() =>
  parseOptions({
    allowPositionals: true,
    options: {
      users: { type: "string", default: "50" },
      devices: { type: "string" },
      notifications: { type: "string", default: "2000" },
      "per-second": { type: "string" },
      nodes: { type: "string", default: "1" },
      "latency-ms": { type: "string", default: "50" },
      seed: { type: "string", default: "1" },
      help: { type: "boolean", short: "h", default: false },
    },
  }),
);
const [command] = positionals;
const say = (line: string) => void process.stderr.write(`${new Date().toISOString().slice(11, 19)} ${line}\n`);

if (values.help || (command !== "chaos" && command !== "storm")) {
  console.log(`usage:
  npm run push-chaos -- [--users 50] [--devices 120] [--notifications 2000] [--per-second 10] [--seed 1]
  npm run push-storm -- [--devices 100000] [--nodes 1] [--per-second 5000] [--latency-ms 50]`);
  process.exit(values.help ? 0 : 2);
}

provide(["redis-server", "nginx"]);
if (command === "chaos") {
  const options = readOrExit(() => ({
    users: wholeNumber("users", values.users),
    devices: wholeNumber("devices", values.devices ?? "120"),
    notifications: wholeNumber("notifications", values.notifications),
    perSecond: wholeNumber("per-second", values["per-second"] ?? "10"),
    seed: wholeNumber("seed", values.seed, { least: 0 }),
  }));
  const result = await pushChaos({ ...options, faultEveryMs: 5000, say });
  const { faults, struck, ...figures } = result;
  console.log(JSON.stringify({ ...figures, struck: struck.length }, null, 2));
  for (const fault of faults.slice(0, 20)) console.error(`FAULT ${fault}`);
  console.log(faults.length === 0 ? "every notification was seen on screen or pushed" : `${faults.length} faults`);
  process.exit(faults.length === 0 ? 0 : 1);
}
const options = readOrExit(() => ({
  devices: wholeNumber("devices", values.devices ?? "100000"),
  nodes: wholeNumber("nodes", values.nodes),
  perSecond: wholeNumber("per-second", values["per-second"] ?? "5000"),
  latencyMs: wholeNumber("latency-ms", values["latency-ms"], { least: 0 }),
}));
const storm = await pushStorm({ ...options, say });
console.log(JSON.stringify(storm, null, 2));
process.exit(storm.pushed === storm.devices ? 0 : 1);

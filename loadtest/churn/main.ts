/** `npm run churn -- [--seconds 600] [--clients 200]`: clients that come, ask, misbehave and go; what they leave behind must be nothing. */
import { provide } from "../../scripts/provide.ts";
import { parseOptions, readOrExit, wholeNumber } from "../command-line.ts";
import { churn } from "./churn.ts";

const { values } = readOrExit(() =>
  parseOptions({
    options: {
      seconds: { type: "string", default: "600" },
      clients: { type: "string", default: "200" },
      rounds: { type: "string", default: "6" },
      help: { type: "boolean", short: "h", default: false },
    },
  }),
);
if (values.help) {
  console.log("usage: npm run churn -- [--seconds 600] [--clients 200] [--rounds 6]");
  process.exit(0);
}
const options = readOrExit(() => ({
  seconds: wholeNumber("seconds", values.seconds),
  clients: wholeNumber("clients", values.clients),
  rounds: wholeNumber("rounds", values.rounds, { least: 3 }),
}));

provide(["redis-server"]);
const faults = await churn({ ...options, say: (line) => console.log(line) });
for (const fault of faults) console.error(`FAULT: ${fault}`);
console.log(faults.length === 0 ? "Nothing was left behind." : `${faults.length} faults.`);
process.exit(faults.length === 0 ? 0 : 1);

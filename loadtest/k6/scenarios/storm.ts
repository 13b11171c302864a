/** Few listeners, and publishers that send batches of a hundred as fast as `RATE` says: the log, the bus and REST at work. */
import { crowd, crowdScenario, publisherScenario } from "../lib/crowd.ts";
import { CLIENTS, RATE } from "../lib/environment.ts";
import { THRESHOLDS } from "../lib/metrics.ts";
import { publish } from "../lib/publisher.ts";
import { summaryFor } from "../lib/summary.ts";

const BATCH = 100;
const LISTENERS = Math.max(Math.ceil(CLIENTS / 10), 3);

export const options = {
  scenarios: {
    listeners: crowdScenario("listen", LISTENERS),
    publisher: publisherScenario(Math.max(Math.ceil((RATE * 20) / BATCH), 1)),
  },
  thresholds: THRESHOLDS,
};

export const listen = () => crowd({}, LISTENERS);
export const speak = () => publish(BATCH, 100);
export const handleSummary = summaryFor(LISTENERS);

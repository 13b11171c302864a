/** Everybody listens to one channel, on which a steady stream is published. */
import { crowd, crowdScenario, publisherScenario } from "../lib/crowd.ts";
import { CLIENTS, RATE } from "../lib/environment.ts";
import { THRESHOLDS } from "../lib/metrics.ts";
import { publish } from "../lib/publisher.ts";
import { summaryFor } from "../lib/summary.ts";

export const options = {
  scenarios: { listeners: crowdScenario(), publisher: publisherScenario(RATE) },
  thresholds: THRESHOLDS,
};

export const listen = () => crowd();
export const speak = () => publish();
export const handleSummary = summaryFor(CLIENTS);

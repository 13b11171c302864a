/** A day at work: most stay, some come and go, small and large messages, and now and then a batch. */
import { crowd, crowdScenario, publisherScenario } from "../lib/crowd.ts";
import { CLIENTS, RATE, SECONDS } from "../lib/environment.ts";
import { THRESHOLDS } from "../lib/metrics.ts";
import { publish } from "../lib/publisher.ts";
import { summaryFor } from "../lib/summary.ts";

const VISITORS = Math.max(Math.ceil(CLIENTS / 5), 1);
const RESIDENTS = Math.max(CLIENTS - VISITORS, 1);

export const options = {
  scenarios: {
    residents: crowdScenario("stay", RESIDENTS),
    visitors: crowdScenario("visit", VISITORS),
    publisher: publisherScenario(RATE),
    batches: publisherScenario(1, "speakMuch"),
  },
  thresholds: THRESHOLDS,
};

export const stay = () => crowd({}, RESIDENTS);
export const visit = () => crowd({ stayS: Math.max(SECONDS / 6, 3) }, VISITORS);
export const speak = () => publish(1, Math.random() < 0.1 ? 16_000 : 60);
export const speakMuch = () => publish(20, 200);
export const handleSummary = summaryFor(RESIDENTS);

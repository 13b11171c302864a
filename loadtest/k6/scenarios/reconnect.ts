/** In the middle of a steady stream everybody loses the connection at once, comes back and resumes: nothing is missing. */
import { crowd, crowdScenario, publisherScenario, RAMP_S } from "../lib/crowd.ts";
import { CLIENTS, RATE, SECONDS } from "../lib/environment.ts";
import { THRESHOLDS } from "../lib/metrics.ts";
import { publish } from "../lib/publisher.ts";
import { summaryFor } from "../lib/summary.ts";

export const options = {
  scenarios: { listeners: crowdScenario(), publisher: publisherScenario(RATE) },
  thresholds: { ...THRESHOLDS, carillon_resumed: ["count>0"] },
};

export const listen = () => crowd({ dropAtS: RAMP_S + SECONDS / 2 });
export const speak = () => publish();
export const handleSummary = summaryFor(CLIENTS);

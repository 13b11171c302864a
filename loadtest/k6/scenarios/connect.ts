/** Everybody connects within the time of the run; a few publications show that they are there. */
import { crowd, crowdScenario, publisherScenario } from "../lib/crowd.ts";
import { SECONDS } from "../lib/environment.ts";
import { THRESHOLDS } from "../lib/metrics.ts";
import { publish } from "../lib/publisher.ts";
import { summaryFor } from "../lib/summary.ts";

export const options = {
  scenarios: { listeners: crowdScenario(), publisher: publisherScenario(1) },
  thresholds: THRESHOLDS,
};

export const listen = () => crowd({ rampS: SECONDS });
export const speak = () => publish();
export const handleSummary = summaryFor(0);

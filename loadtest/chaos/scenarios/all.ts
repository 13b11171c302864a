import { clientScenarios } from "./clients.ts";
import { networkScenarios } from "./network.ts";
import { nodeScenarios } from "./nodes.ts";
import { postgresScenarios } from "./postgres.ts";
import { randomScenario } from "./random.ts";
import { redisScenarios } from "./redis.ts";
import type { Scenario } from "./scenario.ts";

export const scenarios: readonly Scenario[] = [
  ...nodeScenarios,
  ...redisScenarios,
  ...postgresScenarios,
  ...networkScenarios,
  ...clientScenarios,
  randomScenario,
];

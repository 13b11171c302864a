import type { Logger, Meter, Publish } from "@carillon/core";
import type { Backbone } from "./backbone.ts";
import type { Examples } from "./http/deps.ts";
import type { OnNonsense } from "./ingress.ts";
import type { Health } from "./ops/health.ts";
import type { Settings } from "./settings/load.ts";

export interface PostgresSide {
  readonly examples: Examples;
  readonly settled: boolean;
  addChecks(health: Health): void;
  start(): Promise<void>;
  stop(): Promise<void>;
}

export interface PostgresSideOptions {
  readonly settings: Settings;
  readonly backbone: Backbone;
  readonly publisher: Publish;
  readonly meter: Meter;
  readonly logger: Logger;
  readonly onNonsense: OnNonsense;
}

export function buildPostgres(_options: PostgresSideOptions): PostgresSide | undefined {
  return undefined;
}

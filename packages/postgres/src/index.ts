export { type BridgeOptions, type BridgeState, PostgresBridge } from "./bridge.ts";
export { type Examination, type ExamineOptions, examinePostgres, type PostgresFacts } from "./examine.ts";
export { type MigrateOptions, migrate } from "./migrate.ts";
export { isListenable } from "./notify-feed.ts";
export { createPool } from "./pool.ts";
export { type ProbeOptions, type ProbeResult, probePostgres } from "./probe.ts";
export { SetupError } from "./setup-error.ts";

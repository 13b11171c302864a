/** For other programs of this project that start a node or look at how one is set up. */
export { redisConnectOptions, redisProbeOptions } from "./backbone.ts";
export { runNode } from "./run.ts";
export { loadSettings, type Settings, SettingsError } from "./settings/load.ts";

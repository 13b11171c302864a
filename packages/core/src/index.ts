export * from "./logger.ts";
export * from "./metrics.ts";
export * from "./ports.ts";
export * from "./publish.ts";

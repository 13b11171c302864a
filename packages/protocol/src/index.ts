export * from "./errors.ts";
export * from "./frames.ts";
export * from "./ids.ts";
export * from "./json.ts";
export * from "./names.ts";
export * from "./publication.ts";
export * from "./requests.ts";
export * from "./wire.ts";

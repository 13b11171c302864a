export { Client, createClient } from "./client.ts";
export { ClientError, type ClientErrorCode } from "./errors.ts";
export type {
  ClientOptions,
  Gap,
  Message,
  Place,
  Ready,
  Refresh,
  RequestOptions,
  Status,
  SubscribeOptions,
  Subscription,
  TokenSource,
} from "./types.ts";

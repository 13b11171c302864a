export type { Client, PushJob, PushQueue } from "./jobs.ts";

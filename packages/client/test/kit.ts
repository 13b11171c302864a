import { api } from "@carillon/testkit";
import type { ClientError, Message, Refresh } from "../src/index.ts";

/** Quick to come back, and over one connection from the start: a balancer of the tests need not keep polls together. */
export const QUICK = { transports: ["websocket"], reconnectionDelay: 50, reconnectionDelayMax: 500 };

/** What a client heard, in order. */
export interface Heard {
  readonly refreshes: Refresh[];
  readonly messages: { payload: unknown; message: Message }[];
  readonly errors: ClientError[];
}

export const heard = (): Heard => ({ refreshes: [], messages: [], errors: [] });

export async function refresh(url: string, namespace: string, scope: string, more: object = {}): Promise<string> {
  return publish(url, `/api/refresh/${namespace}`, { scope, ...more });
}

export async function message(url: string, channel: string, payload: unknown): Promise<string> {
  return publish(url, `/api/notifications/${channel}`, payload);
}

async function publish(url: string, path: string, body: unknown): Promise<string> {
  const answer = await api(url).post(path, body);
  if (answer.status !== 202) throw new Error(`answered ${answer.status}: ${answer.text}`);
  return answer.body.id;
}

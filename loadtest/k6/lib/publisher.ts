/** Publishes numbered messages by REST, so that whoever hears them knows what is missing. */
import exec from "k6/execution";
import http from "k6/http";
import { CHANNEL, KEY, URL } from "./environment.ts";
import { published, refused } from "./metrics.ts";

/** The payload of each message. */
export interface Mark {
  readonly publisher: number;
  readonly number: number;
  readonly atMs: number;
  readonly padding: string;
}

const headers = { "content-type": "application/json", ...(KEY && { authorization: `Bearer ${KEY}` }) };
let number = 0;

/** One after another on each virtual user, whose numbers have no holes; refused ones are tried again with the same number. */
export function publish(count = 1, paddingBytes = 0): void {
  const padding = "x".repeat(paddingBytes);
  const publications = Array.from({ length: count }, (_, i) => ({
    channel: CHANNEL,
    payload: { publisher: exec.vu.idInTest, number: number + 1 + i, atMs: Date.now(), padding },
  }));
  const answer = http.post(`${URL}/api/publications`, JSON.stringify({ publications }), {
    headers,
    tags: { name: "/api/publications" },
  });
  if (answer.status !== 202) return void refused.add(count);
  number += count;
  published.add(count);
}

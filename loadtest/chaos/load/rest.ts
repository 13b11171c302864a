/** Publishes by REST as a careful caller does: an Idempotency-Key, and the same again until there is a final answer. */
import { randomUUID } from "node:crypto";
import type { Publication } from "../checker/histories.ts";
import { roomOf, userOf } from "../driver/crowd.ts";
import { equalScope, markerLane, scopeOfTag } from "../names.ts";
import type { Random } from "../random.ts";
import type { Ingress } from "./ingress.ts";
import { type Draft, type Ledger, now, Refused } from "./ledger.ts";

export interface RestOptions {
  readonly url: string;
  readonly key: string | undefined;
  readonly ledger: Ledger;
  readonly random: Random;
}

const attemptTimeoutMs = 8_000;
const giveUpMs = 40_000;
const retryMs = 250;
const maxRetryMs = 1_000;

interface Call {
  readonly draft: Omit<Draft, "tag" | "promised">;
  readonly path: string;
  readonly body: object;
}

export class RestIngress implements Ingress {
  readonly name = "rest";
  readonly weight = 5;
  readonly lanes = 8;
  readonly #options: RestOptions;

  constructor(options: RestOptions) {
    this.#options = options;
  }

  async publish(tag: string): Promise<void> {
    await this.#send(tag, this.#call(tag));
  }

  /** One on each channel that carries any; `size` in bytes. */
  async message(tag: string, channel: string, size = 0): Promise<void> {
    await this.#send(tag, message(tag, channel, size));
  }

  async marker(number: number, channel: string): Promise<void> {
    const tag = `${markerLane}.${number}`;
    const isRefresh = channel === "trips" || channel === "notifications";
    await this.#send(tag, isRefresh ? refresh(tag, channel) : message(tag, channel));
  }

  /** Many at once, which nobody hears and nobody counts: only to make the bus carry a lot in one go. Resolves with the status. */
  async noise(count: number, bytes: number): Promise<number> {
    const publications = Array.from({ length: count }, () => ({ channel: "chaos.noise", payload: "x".repeat(bytes) }));
    return this.#post("/api/publications", { publications }, randomUUID()).then(
      ({ status }) => status,
      () => 0,
    );
  }

  async close(): Promise<void> {}

  #call(tag: string): Call {
    const { random } = this.#options;
    const kind = random.below(20);
    if (kind < 6) return refresh(tag, "trips");
    if (kind < 9) return refresh(tag, "notifications");
    if (kind < 10)
      return refresh(tag, "trips", { to: { users: [userOf(random.below(20)), userOf(random.below(20))] } });
    if (kind < 12) return refresh(tag, "trips", { to: { rooms: [roomOf(random.below(5))] } });
    if (kind < 13) return refresh(tag, "trips", { payload: { tag } });
    if (kind < 15) {
      const scope = equalScope(random.below(4));
      return { draft: { channel: "trips", equalScope: scope }, path: "/api/refresh/trips", body: { scope } };
    }
    return message(tag, random.pick(["chat", "orders", "chaos.custom"]));
  }

  #send(tag: string, { draft, path, body }: Call): Promise<void> {
    const key = randomUUID();
    return this.#options.ledger.record({ tag, promised: true, ...draft }, (publication) =>
      this.#untilAnswered(publication, path, body, key),
    );
  }

  async #untilAnswered(publication: Publication, path: string, body: object, key: string): Promise<string | undefined> {
    const deadline = performance.now() + giveUpMs;
    for (let waitMs = retryMs; ; waitMs = Math.min(waitMs * 2, maxRetryMs)) {
      publication.sentAt = now();
      try {
        const { status, answer } = await this.#post(path, body, key);
        if (status === 202) return answer.id;
        if (status < 500) throw new Refused(`${status} ${JSON.stringify(answer)}`);
      } catch (error) {
        if (error instanceof Refused) throw error;
      }
      if (performance.now() > deadline) throw new Error("no final answer");
      await new Promise((resolve) => setTimeout(resolve, waitMs));
    }
  }

  async #post(
    path: string,
    body: object,
    idempotencyKey: string,
  ): Promise<{ status: number; answer: { id?: string } }> {
    const { url, key } = this.#options;
    const response = await fetch(url + path, {
      method: "POST",
      headers: {
        "content-type": "application/json",
        "idempotency-key": idempotencyKey,
        ...(key !== undefined && { authorization: `Bearer ${key}` }),
      },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(attemptTimeoutMs),
    });
    const text = await response.text();
    return { status: response.status, answer: text.startsWith("{") ? JSON.parse(text) : {} };
  }
}

function refresh(tag: string, channel: string, rest: { to?: Draft["to"]; payload?: object } = {}): Call {
  return {
    draft: { channel, ...(rest.to && { to: rest.to }) },
    path: `/api/refresh/${channel}`,
    body: { scope: scopeOfTag(tag), ...rest },
  };
}

function message(tag: string, channel: string, size = 0): Call {
  return {
    draft: { channel },
    path: `/api/notifications/${channel}`,
    body: { tag, ...(size > 0 && { filler: "x".repeat(size) }) },
  };
}

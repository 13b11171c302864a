/** A whole HTTP side with hand-written neighbours. */
import { type AppendRequest, type AppendResult, MemoryPresence, type Publish } from "@carillon/core";
import { CarillonError, type Draft, type GapDraft, type Publication } from "@carillon/protocol";
import type { FastifyInstance } from "fastify";
import { buildHttp } from "../../src/http/app.ts";
import type { Caller, History, HistoryRequest, HttpDeps } from "../../src/http/deps.ts";
import { openCallers } from "../../src/http/open-callers.ts";
import { Health } from "../../src/ops/health.ts";
import { createLogger } from "../../src/ops/logger.ts";
import { createMeter } from "../../src/ops/metrics.ts";

/** Keeps what was published and honours tokens as the log does. */
export class FakePublisher implements Publish {
  readonly drafts: (Draft | GapDraft)[] = [];
  readonly tokens = new Map<string, { fingerprint: string; id: string }>();
  /** Thrown by the next calls. */
  failure: Error | undefined;

  async publish(draft: Draft | GapDraft, options: Parameters<Publish["publish"]>[1]): Promise<string> {
    const token = options.token;
    const [result] = await this.append([token === undefined ? { draft } : { draft, token: { ...token, ttlS: 1 } }]);
    if (result === undefined || result.outcome === "fenced") throw new Error("unexpected");
    if (result.outcome === "token-reused") throw new CarillonError("IDEMPOTENCY_KEY_REUSED");
    return result.id;
  }

  async append(requests: readonly AppendRequest[]): Promise<AppendResult[]> {
    await new Promise((resolve) => setImmediate(resolve));
    if (this.failure !== undefined) throw this.failure;
    return requests.map(({ draft, token }): AppendResult => {
      const known = token === undefined ? undefined : this.tokens.get(token.key);
      if (known !== undefined) {
        if (known.fingerprint !== token?.fingerprint) return { outcome: "token-reused" };
        return { outcome: "repeated", id: known.id };
      }
      const id = `1-${this.drafts.push(draft)}`;
      if (token !== undefined) this.tokens.set(token.key, { fingerprint: token.fingerprint, id });
      return { outcome: "appended", id };
    });
  }
}

export class FakeHistory implements History {
  readonly asked: HistoryRequest[] = [];
  publications: Publication[] = [];

  async read(request: HistoryRequest) {
    this.asked.push(request);
    return { publications: this.publications, id: "1-9", gap: false };
  }
}

export interface Fixture {
  readonly app: FastifyInstance;
  readonly publisher: FakePublisher;
  readonly history: FakeHistory;
  readonly health: Health;
  /** What was logged, a parsed line each. */
  readonly lines: Record<string, unknown>[];
}

export function fixture(
  overrides: Partial<Omit<HttpDeps, "settings" | "health">> & {
    health?: Health;
    settings?: Partial<HttpDeps["settings"]>;
  } = {},
): Fixture {
  const publisher = new FakePublisher();
  const history = new FakeHistory();
  const health = overrides.health ?? new Health({ timeoutMs: 50 });
  health.enter("ready");
  const lines: Record<string, unknown>[] = [];
  const logger = createLogger({ level: "debug", destination: { write: (line) => void lines.push(JSON.parse(line)) } });
  const meter = createMeter({ nodeMetrics: false });
  const settings: HttpDeps["settings"] = {
    namespaces: ["notifications", "trips", "users"],
    ingress: new Set(["rest", "redis", "postgres", "clients"] as const),
    maxPayloadBytes: 65_536,
    corsOrigins: [],
    trustProxy: false,
    wsPort: undefined,
    limits: { headerBytes: 16_384, headersTimeoutMs: 10_000 },
    ...overrides.settings,
  };
  const deps = {
    logger,
    meter,
    publisher,
    history,
    revoke: async () => {},
    auth: openCallers,
    tickets: { issue: async () => ({ ticket: "a-ticket", expiresMs: 1_764_000_000_000 }) },
    cluster: {
      nodes: async () => ({ nodes: [], complete: true }),
      channels: async () => ({ channels: [], total: 0, complete: true }),
    },
    presence: new MemoryPresence("a"),
    metrics: meter,
    ...overrides,
    health,
    settings,
  };
  return { app: buildHttp(deps), publisher, history, health, lines };
}

/** A caller with exactly these rights, each as `action` or `action:channel`. */
export function callerWith(...rights: string[]): Caller {
  return {
    name: "tester",
    kind: "key",
    may: (action, channel) =>
      rights.some((right) =>
        channel === undefined ? right.split(":")[0] === action : [action, `${action}:${channel}`].includes(right),
      ),
  };
}

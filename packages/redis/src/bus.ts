import { type Bus, type BusListener, type Logger, type Meter, noLogger, noMeter, Rarely } from "@carillon/core";
import { parseId } from "@carillon/protocol";
import type { RedisConnections } from "./connections.ts";
import type { RedisLog } from "./log.ts";
import { BROADCAST, decodeBroadcast, HEARTBEAT } from "./record.ts";

export interface RedisBusOptions {
  /** Unique per process; no spaces. */
  readonly nodeId: string;
  /** Default 1,000. A bus that is silent for three of them is deaf. */
  readonly heartbeatMs?: number;
  readonly meter?: Meter;
  readonly logger?: Logger;
}

/** Raise it when records or broadcasts change so that an older node could not read them. */
export const BUS_VERSION = 1;

/**
 * Hears what the append script publishes, and checks that it still hears.
 *
 * Each node beats once a second on the very channel that carries the data. So a subscription that went away in silence, a
 * half-open connection and a listener on a demoted master all look the same: no heartbeat, not even the own one; and the
 * connection is made anew.
 */
export class RedisBus implements Bus {
  readonly #subscriptions: RedisConnections["subscriptions"];
  readonly #pattern: string;
  readonly #log: Pick<RedisLog, "beat">;
  readonly #nodeId: string;
  readonly #heartbeatMs: number;
  readonly #meter: Meter;
  readonly #logger: Logger;
  readonly #rarely = new Rarely(60_000);
  readonly #listeners: BusListener[] = [];
  #stopListening: (() => void)[] = [];
  #timer: NodeJS.Timeout | undefined;
  #beating = false;
  #heardAt = Number.NEGATIVE_INFINITY;
  #tickedAt = 0;
  #rebuildAt = 0;
  #rebuildDelayMs = 0;
  #deaf = false;
  #subscribedBefore = false;

  constructor(
    connections: Pick<RedisConnections, "subscriptions" | "names">,
    log: Pick<RedisLog, "beat">,
    options: RedisBusOptions,
  ) {
    if (!/^\S{1,128}$/.test(options.nodeId)) throw new TypeError("a node id is 1 to 128 characters without spaces");
    this.#subscriptions = connections.subscriptions;
    this.#pattern = connections.names.broadcastPattern;
    this.#log = log;
    this.#nodeId = options.nodeId;
    this.#heartbeatMs = options.heartbeatMs ?? 1_000;
    this.#meter = options.meter ?? noMeter;
    this.#logger = options.logger ?? noLogger;
  }

  get hearing(): boolean {
    return performance.now() - this.#heardAt < 3 * this.#heartbeatMs;
  }

  listen(listener: BusListener): void {
    this.#listeners.push(listener);
  }

  /** Listen first: what is heard before has nobody to go to. */
  start(): void {
    if (this.#timer !== undefined) return;
    this.#postponeRebuild();
    this.#tickedAt = performance.now();
    this.#stopListening = [
      this.#subscriptions.onPattern(this.#pattern, (_channel, message) => this.#message(message)),
      this.#subscriptions.listen({ subscribed: () => this.#subscribed() }),
    ];
    this.#subscriptions.refresh();
    this.#timer = setInterval(() => this.#tick(), this.#heartbeatMs);
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    for (const stop of this.#stopListening) stop();
  }

  #subscribed(): void {
    if (this.#subscribedBefore) this.#meter.count("busReconnects", 1, { cause: this.#deaf ? "deaf" : "closed" });
    this.#subscribedBefore = true;
    for (const listener of this.#listeners) listener.subscribed();
    void this.#beat();
  }

  #message(message: Buffer): void {
    if (message[0] === BROADCAST) {
      const broadcast = decodeBroadcast(message.toString("utf8"));
      if (broadcast === undefined) throw new Error("not a broadcast");
      for (const listener of this.#listeners) listener.broadcast(broadcast);
    } else if (message[0] === HEARTBEAT) this.#heartbeat(message.toString("latin1"));
  }

  #heartbeat(text: string): void {
    const [id, version, nodeId, sentAt] = text.slice(1).split(" ");
    const head = parseId(id);
    if (head === undefined || nodeId === undefined) throw new Error("not a heartbeat");
    this.#hear();
    if (nodeId === this.#nodeId)
      this.#meter.set("busRoundTripSeconds", Math.max(performance.now() - Number(sentAt), 0) / 1000);
    if (version !== String(BUS_VERSION)) this.#warnOfVersion(nodeId, version);
    for (const listener of this.#listeners) listener.head(head);
  }

  #hear(): void {
    this.#heardAt = performance.now();
    this.#rebuildDelayMs = 0;
    this.#postponeRebuild();
    if (this.#deaf) this.#logger.info({}, "the bus is heard again");
    this.#deaf = false;
    this.#meter.set("busHearing", 1);
  }

  #tick(): void {
    const now = performance.now();
    const late = now - this.#tickedAt > 2 * this.#heartbeatMs;
    this.#tickedAt = now;
    void this.#beat();
    // This process itself stood still; what arrived meanwhile is read after this timer.
    if (late) this.#postponeRebuild();
    if (this.hearing) return;
    this.#meter.set("busHearing", 0);
    if (now < this.#rebuildAt) return;
    // While it is being made anew anyway there is nothing to rebuild.
    if (this.#subscriptions.ready) {
      this.#deaf = true;
      this.#logger.warn({ silentMs: Math.round(now - this.#heardAt) }, "the bus is silent: subscribing anew");
      this.#subscriptions.rebuild();
    }
    this.#postponeRebuild();
  }

  #postponeRebuild(): void {
    this.#rebuildAt = performance.now() + 3 * this.#heartbeatMs + this.#rebuildDelayMs;
    this.#rebuildDelayMs = Math.min(
      this.#rebuildDelayMs * 2 + this.#heartbeatMs,
      MAX_REBUILD_DELAY_BEATS * this.#heartbeatMs,
    );
  }

  async #beat(): Promise<void> {
    if (this.#beating) return;
    this.#beating = true;
    try {
      await this.#log.beat(`${BUS_VERSION} ${this.#nodeId} ${Math.round(performance.now())}`, this.#heartbeatMs);
    } catch (error) {
      // Whoever needs Redis is told by its own call, and the bus by the silence.
      this.#rarely.say("beat", () => this.#logger.warn({ err: error }, "a heartbeat could not be sent"));
    } finally {
      this.#beating = false;
    }
  }

  #warnOfVersion(nodeId: string, version: string | undefined): void {
    this.#rarely.say(nodeId, () =>
      this.#logger.warn(
        { peer: nodeId, theirs: version, ours: BUS_VERSION },
        "a node with this prefix speaks another version of the bus: another deployment, or a rolling update",
      ),
    );
  }
}

const MAX_REBUILD_DELAY_BEATS = 10;

import type { Meter, Ring, Sequencer } from "@carillon/core";
import type { Gateway } from "../gateway/gateway.ts";
import type { Transports } from "../gateway/transports.ts";

export interface SampledParts {
  readonly meter: Meter;
  readonly sequencer: Pick<Sequencer, "position" | "behind">;
  readonly ring: Pick<Ring, "size" | "bytes">;
  readonly gateway: Pick<Gateway, "connections" | "slow">;
  readonly transports: Pick<Transports, "byKind">;
}

/** Sets the gauges that would cost too much to keep up to date on every delivery. Returns what stops it. */
export function sampleGauges(parts: SampledParts, everyMs = 1000): () => void {
  const sample = () => {
    const { meter, sequencer, ring, gateway, transports } = parts;
    const { position } = sequencer;
    if (position !== undefined) {
      meter.set("positionEpoch", position.epoch);
      meter.set("position", position.n);
    }
    meter.set("positionBehind", sequencer.behind);
    meter.set("ringEntries", ring.size);
    meter.set("ringBytes", ring.bytes);
    meter.set("slowConnections", gateway.slow);
    for (const [namespace, count] of gateway.connections()) meter.set("connections", count, { namespace });
    for (const [transport, count] of transports.byKind()) meter.set("transports", count, { transport });
  };
  sample();
  const timer = setInterval(sample, everyMs);
  return () => clearInterval(timer);
}

/** The channels of the cluster: how many subscribe to each, and how much is published there. */
import type { Logger, Meter, Roster } from "@carillon/core";
import { isChannelName, readJson } from "@carillon/protocol";
import { z } from "zod";
import type { Connection } from "../gateway/connection.ts";
import type { ChannelRates } from "./channel-rates.ts";
import { Reporter } from "./reporter.ts";

export interface ChannelsOptions {
  readonly roster: Roster;
  readonly name: string;
  readonly everyone: () => Iterable<Pick<Connection, "style" | "channels">>;
  readonly rates: Pick<ChannelRates, "perSecond" | "complete">;
  readonly meter: Pick<Meter, "count">;
  readonly logger: Logger;
}

export interface ChannelView {
  readonly channel: string;
  readonly subscribers: number;
  readonly perSecond: number;
}

export interface ChannelsPage {
  /** Busiest first: by publications a second, then by subscribers. */
  readonly channels: readonly ChannelView[];
  /** Of all channels that are known. */
  readonly total: number;
  /** False when a node could not be asked, has more channels than it reports, or not all were counted: numbers may be too low. */
  readonly complete: boolean;
}

const REPORT_EVERY_MS = 4000;
const MAX_REPORTED = 500;

const report = z.object({
  node: z.string(),
  /** Whether it has more channels than these. */
  more: z.boolean(),
  channels: z.array(z.tuple([z.string().refine(isChannelName), z.number()])).max(MAX_REPORTED),
});
type Report = z.infer<typeof report>;

export class Channels {
  readonly #options: ChannelsOptions;
  readonly #reporter: Reporter;

  constructor(options: ChannelsOptions) {
    this.#options = options;
    const { roster, logger } = options;
    this.#reporter = new Reporter({
      roster,
      record: () => JSON.stringify(this.#own()),
      everyMs: REPORT_EVERY_MS,
      logger,
    });
  }

  start(): void {
    this.#reporter.start();
  }

  stop(): Promise<void> {
    return this.#reporter.stop();
  }

  async page(offset: number, limit: number): Promise<ChannelsPage> {
    const own = this.#subscribers();
    const { reports, complete } = await this.#others();
    const subscribers = new Map(own);
    for (const { channels } of reports)
      for (const [channel, count] of channels) subscribers.set(channel, (subscribers.get(channel) ?? 0) + count);
    const { rates } = this.#options;
    const perSecond = rates.perSecond();
    const all = [...new Set([...subscribers.keys(), ...perSecond.keys()])].map((channel) => ({
      channel,
      subscribers: subscribers.get(channel) ?? 0,
      perSecond: Math.round((perSecond.get(channel) ?? 0) * 100) / 100,
    }));
    all.sort((a, b) => b.perSecond - a.perSecond || b.subscribers - a.subscribers || (a.channel < b.channel ? -1 : 1));
    return { channels: all.slice(offset, offset + limit), total: all.length, complete: complete && rates.complete };
  }

  async #others(): Promise<{ reports: Report[]; complete: boolean }> {
    const { roster, name, meter, logger } = this.#options;
    let complete = true;
    const reports: Report[] = [];
    try {
      for (const text of await roster.all()) {
        const read = report.safeParse(readJson(text)).data;
        if (read === undefined) meter.count("drops", 1, { reason: "channel_report" });
        if (read === undefined || read.more) complete = false;
        if (read !== undefined && read.node !== name) reports.push(read);
      }
    } catch (error) {
      logger.debug({ err: error }, "the other nodes could not be asked");
      complete = false;
    }
    return { reports, complete };
  }

  #own(): Report {
    const all = [...this.#subscribers()].toSorted(([, a], [, b]) => b - a);
    return { node: this.#options.name, more: all.length > MAX_REPORTED, channels: all.slice(0, MAX_REPORTED) };
  }

  #subscribers(): Map<string, number> {
    const counts = new Map<string, number>();
    const add = (channel: string) => void counts.set(channel, (counts.get(channel) ?? 0) + 1);
    for (const { style, channels } of this.#options.everyone()) {
      if (style.ownChannel !== undefined) add(style.ownChannel);
      else for (const [channel, { active }] of channels) if (active) add(channel);
    }
    return counts;
  }
}

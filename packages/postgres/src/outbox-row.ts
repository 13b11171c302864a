import { type AppendRequest, bounded, type Logger, type Meter, Rarely } from "@carillon/core";
import {
  type Audience,
  canonicalChannel,
  type Draft,
  isChannelName,
  type JsonText,
  stringifyJson,
} from "@carillon/protocol";
import { compactPostgresJson } from "./compact-json.ts";
import type { Row } from "./connection.ts";
import { FENCE_SOURCE } from "./cursor.ts";

export interface RowOptions {
  readonly namespaces: ReadonlySet<string>;
  readonly maxPayloadBytes: number;
  /** The publications that a NOTIFY means, counting nonsense itself; the same function as the relay of plain NOTIFY has. */
  readonly interpret: (channel: string, text: string) => readonly Draft[];
  readonly meter: Meter;
  readonly logger: Logger;
}

/** The columns of a page in the order of `Row`. */
export const ROW_COLUMNS = "id, channel, scope, payload, truncated, audience, raw, error";

const WARN_EVERY_MS = 60_000;

/** Makes append requests of outbox rows. */
export class OutboxRows {
  readonly #options: RowOptions;
  readonly #rarely = new Rarely(WARN_EVERY_MS);

  constructor(options: RowOptions) {
    this.#options = options;
  }

  /**
   * In order, each with its row's fence. Equal refreshes without payload become one, at the place of the first: all rows of a window were
   * committed before any of it is published, so that whoever fetches on hearing the first sees what the others meant.
   */
  requests(window: number, rows: readonly Row[]): AppendRequest[] {
    const requests: AppendRequest[] = [];
    const refreshes = new Set<string>();
    for (const row of rows) {
      const fence = { source: FENCE_SOURCE, position: [window, Number(row[0])] as const };
      for (const draft of this.#drafts(row)) {
        if (draft.scope !== undefined && draft.payload === undefined) {
          const key = `${draft.channel}\n${draft.scope}\n${draft.to === undefined ? "" : JSON.stringify(draft.to)}`;
          if (refreshes.has(key)) {
            this.#options.meter.count("publicationsCoalesced");
            continue;
          }
          refreshes.add(key);
        }
        requests.push({ draft, fence });
      }
    }
    return requests;
  }

  #drafts([id, name, scope, payload, truncated, audience, raw, error]: Row): readonly Draft[] {
    if (error != null) this.#drop("capture_failed", { id, channel: name, error });
    if (!isChannelName(name)) {
      this.#drop("outbox_channel", { id });
      return [];
    }
    if (raw != null) return this.#options.interpret(name, raw);
    const channel = canonicalChannel(name, this.#options.namespaces);
    const to = audience == null ? undefined : { to: JSON.parse(audience) as Audience };
    if (truncated != null) return [{ channel, truncated: truncated as JsonText, ...to }];
    if (scope != null) return [{ channel, scope, ...(payload != null && this.#content(payload)), ...to }];
    if (payload != null) return [{ channel, ...this.#content(payload), ...to }];
    return [];
  }

  #content(payload: string): Pick<Draft, "payload" | "truncated"> {
    const compact = compactPostgresJson(payload);
    if (compact !== undefined) return bounded(compact, this.#options);
    this.#drop("outbox_depth", {});
    return { truncated: stringifyJson({ bytes: Buffer.byteLength(payload) }) };
  }

  #drop(reason: string, fields: object): void {
    this.#options.meter.count("drops", 1, { reason });
    this.#rarely.say(reason, (heldBack) =>
      this.#options.logger.warn({ reason, heldBack, ...fields }, "an outbox row was not published as it was meant"),
    );
  }
}

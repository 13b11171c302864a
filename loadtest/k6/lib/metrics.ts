/** What k6 counts here beside its own. Loss is judged by each publisher's numbers, order and doubles by the log's ids. */
import { Counter, Trend } from "k6/metrics";

export const received = new Counter("carillon_received");
export const published = new Counter("carillon_published");
export const refused = new Counter("carillon_publications_refused");
/** Publications that a listener found missing without having been told of a gap. */
export const lost = new Counter("carillon_lost");
export const doubled = new Counter("carillon_doubled");
export const outOfOrder = new Counter("carillon_out_of_order");
export const gapsTold = new Counter("carillon_gaps_told");
export const resumed = new Counter("carillon_resumed");
export const connectFailures = new Counter("carillon_connect_failures");
/** From the publisher's request to the listener's event; both on one machine, by one clock. */
export const publishToReceive = new Trend("carillon_publish_to_receive", true);
/** From opening the transport to `ready`. */
export const connectTime = new Trend("carillon_connect_time", true);

/** Timings are reported, and fail nothing: what fails a run is what a client must never see. */
export const THRESHOLDS = {
  carillon_lost: ["count==0"],
  carillon_doubled: ["count==0"],
  carillon_out_of_order: ["count==0"],
};

/**
 * Every metric of the product, in one table. Packages report through `Meter` and know nothing of Prometheus; the server
 * exports the table, and dashboards, alerts and docs are checked against it.
 *
 * Labels take only values from a fixed set (a namespace of the settings, an ingress, a reason), never a name from the outside.
 */
interface MetricKind {
  readonly name: string;
  readonly type: "counter" | "gauge" | "histogram";
  readonly help: string;
  readonly labels?: readonly string[];
  /** Upper bounds of a histogram, in the metric's unit. */
  readonly buckets?: readonly number[];
}

const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5];

export const METRICS = {
  connections: {
    name: "carillon_connections",
    type: "gauge",
    help: "Live connections by namespace",
    labels: ["namespace"],
  },
  transports: { name: "carillon_transports", type: "gauge", help: "Open transports by kind", labels: ["transport"] },
  handshakes: {
    name: "carillon_handshakes_total",
    type: "counter",
    help: "Connections asked for, by outcome",
    labels: ["outcome"],
  },
  publications: {
    name: "carillon_publications_total",
    type: "counter",
    help: "Publications accepted into the log by this node, by ingress",
    labels: ["ingress"],
  },
  publicationsRefused: {
    name: "carillon_publications_refused_total",
    type: "counter",
    help: "Publications refused, by ingress and reason",
    labels: ["ingress", "reason"],
  },
  publicationsCoalesced: {
    name: "carillon_publications_coalesced_total",
    type: "counter",
    help: "Refreshes that shared another's publication",
  },
  appendSeconds: {
    name: "carillon_append_seconds",
    type: "histogram",
    help: "Time from asking for an append to its answer",
    buckets: SECONDS,
  },
  appendQueue: { name: "carillon_append_queue", type: "gauge", help: "Publications waiting for the log" },
  deliveries: {
    name: "carillon_deliveries_total",
    type: "counter",
    help: "Events written to connections, by kind",
    labels: ["kind"],
  },
  positionEpoch: { name: "carillon_position_epoch", type: "gauge", help: "Epoch of this node's position in the log" },
  position: { name: "carillon_position", type: "gauge", help: "This node's position within its epoch" },
  positionBehind: {
    name: "carillon_position_behind",
    type: "gauge",
    help: "Entries between this node's position and the newest head it heard of",
  },
  repairs: {
    name: "carillon_repairs_total",
    type: "counter",
    help: "Times this node read the log because it missed something, by cause",
    labels: ["cause"],
  },
  repairedEntries: {
    name: "carillon_repaired_entries_total",
    type: "counter",
    help: "Entries delivered from the log instead of the bus",
  },
  duplicatesDropped: {
    name: "carillon_duplicates_dropped_total",
    type: "counter",
    help: "Broadcasts of entries that this node already had",
  },
  gapsTold: {
    name: "carillon_gaps_told_total",
    type: "counter",
    help: "Gaps told to connections, by cause",
    labels: ["cause"],
  },
  resumes: {
    name: "carillon_resumes_total",
    type: "counter",
    help: "Connections that came back with an offset, by outcome",
    labels: ["outcome"],
  },
  logReads: { name: "carillon_log_reads_total", type: "counter", help: "Range reads of the log" },
  busHearing: { name: "carillon_bus_hearing", type: "gauge", help: "1 while this node hears the bus" },
  busRoundTripSeconds: {
    name: "carillon_bus_round_trip_seconds",
    type: "gauge",
    help: "Time for this node's last heartbeat to come back",
  },
  busReconnects: {
    name: "carillon_bus_reconnects_total",
    type: "counter",
    help: "Times the bus subscription was rebuilt, by cause",
    labels: ["cause"],
  },
  lease: { name: "carillon_lease_held", type: "gauge", help: "1 while this node holds the lease", labels: ["lease"] },
  bridgeConnected: {
    name: "carillon_bridge_connected",
    type: "gauge",
    help: "1 while the bridge's Postgres connection is up",
  },
  bridgeLagSeconds: {
    name: "carillon_bridge_lag_seconds",
    type: "gauge",
    help: "Age of the oldest outbox row that was not yet published at the last page",
  },
  bridgeWindow: { name: "carillon_bridge_window", type: "gauge", help: "Number of the current outbox window" },
  outboxPublished: {
    name: "carillon_outbox_published_total",
    type: "counter",
    help: "Outbox rows published by this node",
  },
  outboxFenced: {
    name: "carillon_outbox_fenced_total",
    type: "counter",
    help: "Outbox rows that another bridge had already published",
  },
  notifyQueueUsage: {
    name: "carillon_notify_queue_usage_ratio",
    type: "gauge",
    help: "pg_notification_queue_usage(), 0 to 1",
  },
  listenChannels: {
    name: "carillon_listen_channels",
    type: "gauge",
    help: "Postgres channels that this node listens on",
  },
  feedMessages: {
    name: "carillon_feed_messages_total",
    type: "counter",
    help: "Messages heard on a lossy feed",
    labels: ["feed"],
  },
  feedDropped: {
    name: "carillon_feed_dropped_total",
    type: "counter",
    help: "Messages of a lossy feed that were not published, by reason",
    labels: ["feed", "reason"],
  },
  feedKept: { name: "carillon_feed_kept", type: "gauge", help: "Messages kept for a takeover", labels: ["feed"] },
  feedTakeovers: {
    name: "carillon_feed_takeovers_total",
    type: "counter",
    help: "Times this node took a lossy feed over, by whether it had heard everything",
    labels: ["feed", "outcome"],
  },
  drops: {
    name: "carillon_drops_total",
    type: "counter",
    help: "Input that was refused and dropped, by reason",
    labels: ["reason"],
  },
  slowConnections: {
    name: "carillon_slow_connections",
    type: "gauge",
    help: "Connections that are behind and off the live path",
  },
  limitsLocal: {
    name: "carillon_limits_local_total",
    type: "counter",
    help: "Times a limit of the whole cluster was kept by this node alone because Redis was away",
  },
  abuseClosed: {
    name: "carillon_abuse_closed_total",
    type: "counter",
    help: "Transports closed because their client went on over its limit",
  },
  credentialsClosed: {
    name: "carillon_credentials_closed_total",
    type: "counter",
    help: "Connections closed because their credentials ended, by reason",
    labels: ["reason"],
  },
  slowClosed: {
    name: "carillon_slow_closed_total",
    type: "counter",
    help: "Connections closed because they stayed behind longer than the log, or went on asking without reading the answers",
  },
  ringEntries: { name: "carillon_ring_entries", type: "gauge", help: "Recent log entries in memory" },
  ringBytes: { name: "carillon_ring_bytes", type: "gauge", help: "Bytes of recent log entries in memory" },
  presenceUsers: { name: "carillon_presence_users", type: "gauge", help: "Users with a client on this node" },
  presenceJoins: {
    name: "carillon_presence_joins_total",
    type: "counter",
    help: "Users who came to this node and were on no other",
  },
  presenceLeaves: {
    name: "carillon_presence_leaves_total",
    type: "counter",
    help: "Users who left the cluster, each counted by one node, by cause",
    labels: ["cause"],
  },
  presenceRebuilds: {
    name: "carillon_presence_rebuilds_total",
    type: "counter",
    help: "Times this node put all its users again because the store had lost them",
  },
  notifications: {
    name: "carillon_notifications_total",
    type: "counter",
    help: "Notifications that came to this node and were stored; those of SQL are not among them",
  },
  pushDecisions: {
    name: "carillon_push_decisions_total",
    type: "counter",
    help: "Decisions whether a device gets a push, by outcome",
    labels: ["outcome"],
  },
  pushDecisionLagSeconds: {
    name: "carillon_push_decision_lag_seconds",
    type: "gauge",
    help: "How long the oldest of the entries that were decided last had been due",
  },
  seenReports: {
    name: "carillon_seen_reports_total",
    type: "counter",
    help: "Events that clients reported as seen, by what became of the report",
    labels: ["outcome"],
  },
  devicesRemoved: {
    name: "carillon_devices_removed_total",
    type: "counter",
    help: "Devices taken out of the registry, by reason",
    labels: ["reason"],
  },
  inboxPruned: {
    name: "carillon_inbox_pruned_total",
    type: "counter",
    help: "Inbox entries thrown away because of their age",
  },
  pushes: {
    name: "carillon_pushes_total",
    type: "counter",
    help: "Pushes that left the queue or went back into it, by what FCM said or why they were not sent",
    labels: ["outcome"],
  },
  pushesRepeated: {
    name: "carillon_pushes_repeated_total",
    type: "counter",
    help: "Pushes sent again because nobody knows whether the attempt before arrived",
  },
  pushDelaySeconds: {
    name: "carillon_push_delay_seconds",
    type: "histogram",
    help: "Time from a notification to FCM's acceptance of a push for it",
    buckets: [1, 2.5, 5, 10, 30, 60, 300, 900, 3600],
  },
  pushBatchSeconds: {
    name: "carillon_push_batch_seconds",
    type: "histogram",
    help: "Time until FCM had answered every message of a batch",
    buckets: [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
  },
  pushQueue: { name: "carillon_push_queue", type: "gauge", help: "Pushes waiting to be sent, by any node" },
  pushActive: { name: "carillon_push_active", type: "gauge", help: "Pushes that some node is sending" },
  pushDeadLetters: {
    name: "carillon_push_dead_letters",
    type: "gauge",
    help: "Pushes that were given up and can be sent again by hand",
  },
  pushPaused: {
    name: "carillon_push_paused",
    type: "gauge",
    help: "1 while pushes to all or some devices wait, by cause",
    labels: ["cause"],
  },
  draining: { name: "carillon_draining", type: "gauge", help: "1 while this node is leaving service" },
} as const satisfies Record<string, MetricKind>;

export type MetricKey = keyof typeof METRICS;
export type Labels = Readonly<Record<string, string>>;

export interface Meter {
  /** Adds to a counter. */
  count(key: MetricKey, by?: number, labels?: Labels): void;
  /** Sets a gauge. */
  set(key: MetricKey, value: number, labels?: Labels): void;
  /** Records into a histogram. */
  observe(key: MetricKey, value: number, labels?: Labels): void;
}

/** For tests and tools that do not care. */
export const noMeter: Meter = { count() {}, set() {}, observe() {} };

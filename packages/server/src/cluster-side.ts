/** What this node tells the others about itself: whose clients it has, how it is, who subscribes to what; and what they tell. */
import { type Logger, PresenceTracker, type Sequencer } from "@carillon/core";
import type { Backbone } from "./backbone.ts";
import { ChannelRates } from "./cluster/channel-rates.ts";
import { Channels, type ChannelsPage } from "./cluster/channels.ts";
import { Nodes, type NodesView } from "./cluster/nodes.ts";
import { Attendance } from "./gateway/attendance.ts";
import type { Gateway } from "./gateway/gateway.ts";
import type { Transports } from "./gateway/transports.ts";
import type { Health } from "./ops/health.ts";
import type { PrometheusMeter } from "./ops/metrics.ts";
import type { Settings } from "./settings/load.ts";

export interface ClusterSideOptions {
  readonly settings: Pick<Settings, "roles">;
  readonly backbone: Pick<Backbone, "presence" | "rosters">;
  /** This node's name. */
  readonly node: string;
  readonly health: Pick<Health, "state" | "readiness">;
  readonly sequencer: Pick<Sequencer, "position" | "behind" | "listen">;
  /** Made later, since it tells this side of its connections. */
  readonly clients: () => {
    readonly transports: Pick<Transports, "byKind">;
    readonly gateway: Pick<Gateway, "connections" | "everyone">;
  };
  readonly meter: PrometheusMeter;
  readonly logger: Logger;
}

export class ClusterSide {
  readonly attendance: Attendance;
  readonly #tracker: PresenceTracker;
  readonly #nodes: Nodes;
  readonly #channels: Channels;

  constructor(options: ClusterSideOptions) {
    const { settings, backbone, node: name, health, sequencer, clients, meter, logger } = options;
    const { presence, rosters } = backbone;
    this.#tracker = new PresenceTracker({ presence, meter, logger });
    this.attendance = new Attendance(this.#tracker);
    this.#nodes = new Nodes({
      roster: rosters.nodes,
      name,
      roles: settings.roles,
      health,
      sequencer,
      transports: () => clients().transports.byKind(),
      connections: () => clients().gateway.connections(),
      users: () => this.#tracker.users,
      meter,
      logger,
    });
    const rates = new ChannelRates();
    sequencer.listen(rates);
    const everyone = () => clients().gateway.everyone();
    this.#channels = new Channels({ roster: rosters.channels, name, everyone, rates, meter, logger });
  }

  start(): void {
    this.#tracker.start();
    this.#nodes.start();
    this.#channels.start();
  }

  /** Tells the others at once that this node's state is another. */
  changed(): void {
    this.#nodes.changed();
  }

  nodes(): Promise<NodesView> {
    return this.#nodes.view();
  }

  channels(offset: number, limit: number): Promise<ChannelsPage> {
    return this.#channels.page(offset, limit);
  }

  /** Takes leave, for this node and its clients. */
  async stop(): Promise<void> {
    await Promise.all([this.#tracker.stop(), this.#nodes.stop(), this.#channels.stop()]);
  }
}

import { setTimeout as sleep } from "node:timers/promises";
import type { Cluster, FcmServer, NodeServer } from "@carillon/testkit";
import type { Random } from "../chaos/random.ts";

export interface Breakable {
  readonly cluster: Cluster;
  readonly fcm: FcmServer;
  readonly random: Random;
}

export interface Fault {
  readonly name: string;
  /** Breaks it, and resolves when it is whole again. */
  strike(world: Breakable): Promise<void>;
}

const node = ({ cluster, random }: Breakable): NodeServer => random.pick(cluster.nodes);

/** In this order, over and over. */
export const FAULTS: readonly Fault[] = [
  {
    name: "a node is killed",
    async strike(world) {
      const victim = node(world);
      await victim.kill();
      await sleep(500);
      await victim.start();
    },
  },
  {
    name: "FCM's connections are reset and refused",
    async strike({ fcm }) {
      await fcm.stop();
      await sleep(2000);
      await fcm.start();
    },
  },
  {
    name: "Postgres crashes",
    async strike({ cluster }) {
      await cluster.postgres?.restart("immediate");
    },
  },
  {
    name: "Redis is killed",
    async strike({ cluster }) {
      await cluster.redis?.kill();
      await sleep(1000);
      await cluster.redis?.start();
    },
  },
  {
    name: "FCM is unavailable",
    async strike({ fcm }) {
      const usual = fcm.byDefault;
      fcm.byDefault = "unavailable";
      await sleep(2000);
      fcm.byDefault = usual;
    },
  },
  {
    name: "a node is frozen",
    async strike(world) {
      const victim = node(world);
      victim.freeze();
      await sleep(3000);
      victim.thaw();
    },
  },
  {
    name: "FCM hangs",
    async strike({ fcm }) {
      const usual = fcm.byDefault;
      fcm.byDefault = "hang";
      await sleep(2000);
      fcm.byDefault = usual;
    },
  },
  {
    name: "Postgres is frozen",
    async strike({ cluster }) {
      cluster.postgres?.freeze();
      await sleep(3000);
      cluster.postgres?.thaw();
    },
  },
  {
    name: "a node is restarted",
    async strike(world) {
      const victim = node(world);
      await victim.stop();
      await victim.start();
    },
  },
];

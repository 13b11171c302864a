/** Clients with bad networks, and clients that do not read. */
import type { Scenario, Stage } from "./scenario.ts";

export async function flap(stage: Stage, share: number): Promise<void> {
  const { drivers, random } = stage;
  const names = drivers.specs.map(({ name }) => name);
  const clients = random.some(names, Math.max(Math.ceil(names.length * share), 1));
  stage.note(`${clients.length} transports are cut`);
  drivers.tell({ command: "cut", clients });
}

/**
 * More than the sockets on the way take up, so that nodes feel it; and less than a node holds for one client that catches up (16 MiB,
 * at two bytes a character), beyond which it tells a gap.
 */
const big = { count: 150, bytes: 48_000 };

export const clientScenarios: readonly Scenario[] = [
  {
    name: "publishers",
    about: "nothing breaks: what the others are compared with",
    harmless: true,
    mayTellGaps: false,
    async play(stage) {
      await stage.pause(1_000);
    },
  },
  {
    name: "client-flaps",
    about: "transports of clients are cut at random, some again and again",
    harmless: true,
    mayTellGaps: false,
    async play(stage) {
      await flap(stage, 0.1);
      await stage.pause(stage.random.between(100, 700));
    },
  },
  {
    name: "stopped-readers",
    about: "clients stop reading while large messages pass, for longer and for less than the ping timeout",
    harmless: true,
    // Small enough to be passed by what the short form sends.
    env: { HIGH_WATER_BYTES: "65536" },
    mayTellGaps: false,
    async play(stage) {
      const { drivers, random, rest } = stage;
      const readers = drivers.specs.filter(({ channels }) => channels.includes("chaos.big")).map(({ name }) => name);
      const others = drivers.specs.filter(({ channels }) => !channels.includes("chaos.big")).map(({ name }) => name);
      const ms = random.pick([stage.pingMs * 0.6, stage.pingMs + 1_000]);
      const clients = [...readers, ...random.some(others, Math.ceil(others.length / 10))];
      stage.note(`${clients.length} clients read nothing for ${Math.round(ms)} ms`);
      drivers.tell({ command: "stall", clients, ms });
      const lanes = 4;
      const run = `big-${Math.round(performance.now())}-`;
      await Promise.all(
        Array.from({ length: lanes }, async (_, lane) => {
          for (let n = 0; n < big.count / lanes; n++) await rest.message(`${run}${lane}.${n}`, "chaos.big", big.bytes);
        }),
      );
      // And time to catch up: what two rounds sent is more than a node holds for one client.
      await stage.pause(ms + 3_000);
    },
  },
];

/** Everything at random, several at once. */
import { flap } from "./clients.ts";
import { cutLink, reloadNginx, silenceLink } from "./network.ts";
import { freezeNode, killNode } from "./nodes.ts";
import { restartPostgres, terminateListeners } from "./postgres.ts";
import { freezeRedis, killRedis, killSubscribers } from "./redis.ts";
import { type Scenario, type Stage, someNode } from "./scenario.ts";

type Action = (stage: Stage) => Promise<void>;

/** Those of one group exclude each other: nobody kills what is frozen. */
const groups: Readonly<Record<string, readonly Action[]>> = {
  node: [killNode, (stage) => freezeNode(stage, stage.random.between(300, stage.pingMs + 1_000))],
  redis: [
    killSubscribers,
    (stage) => killRedis(stage, stage.random.between(100, 1_000)),
    (stage) => freezeRedis(stage, 2_000),
  ],
  links: [
    (stage) => cutLink(stage, "redis", stage.random.between(300, 2_000)),
    (stage) => silenceLink(stage, "redis", stage.random.between(1_000, 5_000)),
    async (stage) => {
      const { node, redisLink } = someNode(stage);
      stage.note(`${node.name} is subscribed to nothing any more`);
      redisLink?.dropSubscriptions();
    },
  ],
  postgres: [
    (stage) => restartPostgres(stage, stage.random.pick(["fast", "immediate"])),
    terminateListeners,
    (stage) => cutLink(stage, "postgres", stage.random.between(300, 2_000)),
  ],
  edge: [reloadNginx, (stage) => flap(stage, 0.1)],
};

export const randomScenario: Scenario = {
  name: "random",
  about: "all of it at random and at once; the seed decides",
  redis: { appendonly: "always" },
  mayTellGaps: true,
  async play(stage) {
    const usable = Object.entries(groups).filter(([name]) => name !== "postgres" || stage.stack.postgres !== undefined);
    const chosen = stage.random.some(usable, 2).map(([, actions]) => stage.random.pick(actions));
    await Promise.all(
      chosen.map(async (action) => {
        await stage.pause(stage.random.between(0, 800));
        await action(stage);
      }),
    );
    await stage.pause(stage.random.between(200, 2_000));
  },
};

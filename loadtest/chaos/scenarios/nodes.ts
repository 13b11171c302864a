/** Nodes that die, hang, are deployed and scaled. */
import { type Scenario, type Stage, someNode } from "./scenario.ts";

export async function killNode(stage: Stage): Promise<void> {
  const { node } = someNode(stage);
  stage.note(`SIGKILL ${node.name}`);
  await node.kill();
  await stage.pause(stage.random.between(300, 1_500));
  await node.start();
}

export async function freezeNode(stage: Stage, ms: number): Promise<void> {
  const { node } = someNode(stage);
  stage.note(`SIGSTOP ${node.name} for ${Math.round(ms)} ms`);
  node.freeze();
  await stage.pause(ms);
  node.thaw();
}

export const nodeScenarios: readonly Scenario[] = [
  {
    name: "node-sigkill",
    about: "a node is killed, and started again",
    mayTellGaps: false,
    async play(stage) {
      await killNode(stage);
      await stage.pause(2_000);
    },
  },
  {
    name: "node-sigstop",
    about: "a node stands still: longer than the ping timeout, then for a moment",
    mayTellGaps: false,
    async play(stage) {
      await freezeNode(stage, stage.pingMs + 2_000);
      await stage.pause(1_500);
      await freezeNode(stage, 1_000);
      await stage.pause(1_500);
    },
  },
  {
    name: "rolling-deploy",
    about: "SIGTERM to each node in turn, which drains, ends and is started again",
    mayTellGaps: false,
    async play(stage) {
      for (const { node } of stage.stack.placed) {
        stage.note(`deploy ${node.name}`);
        await node.stop();
        await node.start();
        await stage.pause(500);
      }
    },
  },
  {
    name: "scale",
    about: "3 → 5 → 2 → 3 nodes (two more, three fewer, as before), with nginx told each time",
    spareNodes: 2,
    mayTellGaps: false,
    async play(stage) {
      const { placed, balanceOver } = stage.stack;
      const usual = placed.length - 2;
      const fewest = Math.max(usual - 1, 1);
      stage.note(`scale to ${placed.length}`);
      await Promise.all(placed.slice(usual).map(({ node }) => node.start()));
      await balanceOver(placed.length);
      await stage.pause(3_500);
      stage.note(`scale to ${fewest}`);
      await balanceOver(fewest);
      await Promise.all(placed.slice(fewest).map(({ node }) => node.stop()));
      await stage.pause(1_500);
      stage.note(`scale to ${usual}`);
      await Promise.all(placed.slice(fewest, usual).map(({ node }) => node.start()));
      await balanceOver(usual);
      await stage.pause(1_500);
    },
  },
];

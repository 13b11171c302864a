/** Networks that break between a node and Redis or Postgres, and the balancer's reload. */
import type { Link } from "../stack/link.ts";
import { type Scenario, type Stage, someNode } from "./scenario.ts";

type Side = "redis" | "postgres";

/** Closes everything and refuses what is new. */
export async function cutLink(stage: Stage, side: Side, ms: number): Promise<void> {
  const { name, link } = someLink(stage, side);
  stage.note(`${name} is cut off from ${side} for ${Math.round(ms)} ms`);
  await link?.cut();
  await stage.pause(ms);
  await link?.restore();
}

/** Everything stays open and nothing passes. */
export async function silenceLink(stage: Stage, side: Side, ms: number): Promise<void> {
  const { name, link } = someLink(stage, side);
  stage.note(`nothing passes between ${name} and ${side} for ${Math.round(ms)} ms`);
  link?.blackhole();
  await stage.pause(ms);
  await link?.restore();
}

export async function reloadNginx(stage: Stage): Promise<void> {
  stage.note("nginx reloads");
  await stage.stack.nginx.reload();
}

export const networkScenarios: readonly Scenario[] = [
  ...(["redis", "postgres"] as const).flatMap((side): Scenario[] => [
    {
      name: `cut-${side}`,
      about: `a node's connections to ${side === "redis" ? "Redis" : "Postgres"} are closed and refused for a while`,
      mayTellGaps: true,
      ...(side === "postgres" && { needsPostgres: true }),
      async play(stage) {
        await cutLink(stage, side, stage.random.between(500, 3_000));
        await stage.pause(2_500);
      },
    },
    {
      name: `silent-${side}`,
      about: `a node's connections to ${side === "redis" ? "Redis" : "Postgres"} stay open and carry nothing for a while`,
      mayTellGaps: true,
      ...(side === "postgres" && { needsPostgres: true }),
      async play(stage) {
        await silenceLink(stage, side, stage.short ? 6_000 : stage.random.between(4_000, 12_000));
        await stage.pause(2_500);
      },
    },
  ]),
  {
    name: "nginx-reload",
    about: "nginx reads its configuration again; its old workers end and cut what they carried",
    mayTellGaps: false,
    async play(stage) {
      await reloadNginx(stage);
      await stage.pause(4_500);
    },
  },
];

function someLink(stage: Stage, side: Side): { name: string; link: Link | undefined } {
  const { node, redisLink, postgresLink } = someNode(stage);
  return { name: node.name, link: side === "redis" ? redisLink : postgresLink };
}

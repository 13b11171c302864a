/** Postgres that restarts, and the bridge's connection that ends. */
import type { Scenario, Stage } from "./scenario.ts";

export async function restartPostgres(stage: Stage, mode: "fast" | "immediate"): Promise<void> {
  stage.note(`restart Postgres, ${mode}`);
  await stage.stack.postgres?.restart(mode);
}

export async function terminateListeners(stage: Stage): Promise<void> {
  stage.note("pg_terminate_backend of the listeners");
  await stage.stack.postgres?.query(
    "select pg_terminate_backend(pid) from pg_stat_activity where application_name in ('carillon-bridge', 'stock-listener')",
  );
}

export const postgresScenarios: readonly Scenario[] = [
  ...(["fast", "immediate"] as const).map(
    (mode): Scenario => ({
      name: `postgres-restart-${mode}`,
      about: mode === "fast" ? "Postgres is restarted" : "Postgres crashes and recovers",
      needsPostgres: true,
      mayTellGaps: true,
      async play(stage) {
        await restartPostgres(stage, mode);
        await stage.pause(3_000);
      },
    }),
  ),
  {
    name: "listener-terminated",
    about: "the bridge's connections are terminated",
    needsPostgres: true,
    mayTellGaps: true,
    async play(stage) {
      await terminateListeners(stage);
      await stage.pause(2_500);
    },
  },
];

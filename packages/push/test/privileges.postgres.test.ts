import { readFileSync } from "node:fs";
import { noLogger } from "@carillon/core";
import { type FcmServer, startFcm } from "@carillon/testkit";
import pg from "pg";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Database } from "../src/database.ts";
import { PgBossQueue } from "../src/queue.ts";
import { Stage } from "./stage.ts";

let fcm: FcmServer;
let stage: Stage;
let pool: pg.Pool;

beforeEach(async () => {
  fcm = await startFcm();
  stage = await Stage.open(fcm);
});
afterEach(async () => {
  await pool?.end();
  await stage?.close();
  await fcm?.stop();
});

test("with MIGRATE=off a role with the documented rights and no others can use the queue", async () => {
  // Roles are the whole server's, which other tests share.
  const role = `node_${process.pid}`;
  await stage.database.rows(`create role ${role} login`);
  for (const grant of documentedGrants()) await stage.database.rows(grant.replace("carillon_node", role));
  pool = new pg.Pool({ connectionString: stage.url.replace("//postgres@", `//${role}@`) });
  const queue = new PgBossQueue({ pool, database: new Database(pool), migrate: false, logger: noLogger });

  await queue.start();
  const jobs = await stage.event("ann", ["phone", "pad"]);
  await queue.add(jobs);
  const [first, second] = await queue.take(10);
  await queue.keep([first, second].filter((job) => job !== undefined));
  await new Database(pool).transaction(async ({ client }) => {
    if (first !== undefined) await queue.bury([first], client);
    if (second !== undefined) await queue.later([{ job: second, delayMs: 60_000, attempted: true }], client);
  });

  expect(await queue.depth()).toEqual({ waiting: 1, active: 0, dead: 1 });
  expect(await queue.redrive({ limit: 10 })).toBe(1);
  await queue.stop();
});

function documentedGrants(): string[] {
  const text = readFileSync(new URL("../../../docs/push-sending.md", import.meta.url), "utf8");
  const grants = text.match(/^grant .*;$/gm) ?? [];
  expect(grants.length).toBeGreaterThan(2);
  return grants;
}

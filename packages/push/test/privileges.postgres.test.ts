import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { type FcmServer, startFcm } from "@carillon/testkit";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Stage } from "./stage.ts";

const roles = readFileSync(new URL("../../../infra/postgres/roles.sql", import.meta.url), "utf8");

let fcm: FcmServer;
let owner: Stage;
let node: Stage;

beforeEach(async () => {
  fcm = await startFcm();
  fcm.redirect();
  owner = await Stage.open(fcm);
  await owner.pool.query(roles);
  // Roles are the whole server's, which other tests share.
  const role = `node_${randomBytes(4).toString("hex")}`;
  await owner.pool.query(`create role ${role} login in role carillon_node`);
  node = new Stage(owner.url.replace("//postgres@", `//${role}@`), fcm, { migrate: false });
});
afterEach(async () => {
  await node?.close();
  await owner?.close();
  await fcm?.stop();
});

test("with MIGRATE=off a role with the rights of roles.sql and no others sends, pauses, buries and redrives", async () => {
  const queue = await node.queue();
  fcm.script("odd", "bad-payload", "ok");
  fcm.script("gone", "unregistered");
  fcm.script("foreign", "sender-id-mismatch");
  await queue.add(await owner.event("ann", ["phone", "odd", "gone", "foreign"]));

  await node.sender();
  await node.idle(queue);
  expect(await queue.depth()).toEqual({ waiting: 0, active: 0, dead: 1 });
  expect(await owner.devices()).toEqual(["foreign", "odd", "phone"]);

  await node.pauses.pause("all", "quota", "for the test", 100);
  expect(await queue.redrive({ limit: 10 })).toBe(1);
  await node.idle(queue);
  expect([...fcm.accepted.keys()].toSorted()).toEqual(["odd", "phone"]);
});

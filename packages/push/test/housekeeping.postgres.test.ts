import { noLogger } from "@carillon/core";
import { waitFor } from "@carillon/testkit";
import { expect, onTestFinished, test } from "vitest";
import { Housekeeping } from "../src/housekeeping.ts";
import { addDevice, notify, poolOf, RecordingMeter, type Subject, subject } from "./support.ts";

const counts = async (db: Subject) => {
  const [row] = await db.query(`select
    (select count(*)::int from carillon.inbox_entry) as entries, (select count(*)::int from carillon.device) as devices,
    (select count(*)::int from carillon.push_attempt) as attempts, (select count(*)::int from carillon.push_seen) as seen,
    (select count(*)::int from carillon.notify_request) as requests`);
  return row;
};

function tidying(db: Subject): RecordingMeter {
  const meter = new RecordingMeter();
  const { database } = db;
  const housekeeping = new Housekeeping({ database, inboxRetentionDays: 30, meter, logger: noLogger, everyMs: 20 });
  housekeeping.start();
  onTestFinished(() => housekeeping.stop());
  return meter;
}

test("what is older than its time goes, in batches, and the rest stays", async () => {
  const db = await subject();
  await notify(
    db,
    Array.from({ length: 2500 }, (_, n) => `${n}`),
  );
  await db.query(`
    update carillon.inbox_entry set created_at = now() - interval '31 days';
    insert into carillon.push_attempt (event_id, user_id, installation_id, attempt, outcome, at)
      values ('a', 'b', 'c', 1, 'sent', now() - interval '31 days'), ('d', 'b', 'c', 1, 'sent', now());
    insert into carillon.push_seen values ('a', 'b', 'c', now() - interval '2 days'), ('d', 'b', 'c', now());
    insert into carillon.notify_request values ('a', 'f', 'e', 1, now() - interval '2 days'), ('d', 'f', 'e', 1, now())`);
  await notify(db, ["ada"]);
  await addDevice(db, "ada", "idle");
  await addDevice(db, "ada", "used");
  await db.query(
    "update carillon.device set last_seen_at = now() - interval '271 days' where installation_id = 'idle'",
  );

  const meter = tidying(db);

  const left = { entries: 1, devices: 1, attempts: 1, seen: 1, requests: 1 };
  await waitFor(async () => JSON.stringify(await counts(db)) === JSON.stringify(left), {
    what: "the old to be gone",
    timeoutMs: 20_000,
  });
  expect(meter.counts.get("inboxPruned")).toBe(2500);
  expect(meter.counts.get("devicesRemoved:idle")).toBe(1);
});

test("one node at a time does it", async () => {
  const db = await subject();
  await notify(db, ["ada"]);
  await db.query("update carillon.inbox_entry set created_at = now() - interval '31 days'");
  const other = await poolOf(db.url).connect();
  onTestFinished(() => other.release());
  await other.query("begin; select pg_advisory_xact_lock(1667330668, 5)");

  const meter = tidying(db);
  await waitFor(() => meter.counts.has("inboxPruned"), { what: "a round" });
  expect(await counts(db)).toMatchObject({ entries: 1 });
  await other.query("rollback");

  await waitFor(async () => (await counts(db))?.entries === 0, { what: "a later round" });
});

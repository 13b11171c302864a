import { noLogger } from "@carillon/core";
import { waitFor } from "@carillon/testkit";
import { beforeEach, expect, onTestFinished, test } from "vitest";
import { Database } from "../src/database.ts";
import { Decision, type DecisionOptions } from "../src/decision.ts";
import type { Client, PushJob, PushQueue } from "../src/jobs.ts";
import { addDevice, notify, poolOf, RecordingMeter, type Subject, subject } from "./support.ts";

let db: Subject;

beforeEach(async () => {
  db = await subject();
  await db.query("create table job (event_id text, installation_id text)");
});

/** Writes jobs where the test can look, in the decision's transaction as the real one does, and may fail after that. */
class TableQueue implements PushQueue {
  readonly jobs: PushJob[] = [];
  failures = 0;

  async add(jobs: readonly PushJob[], tx?: Client): Promise<void> {
    for (const { eventId, installationId } of jobs) {
      await tx?.query({ text: "insert into job values ($1, $2)", values: [eventId, installationId] });
    }
    if (this.failures-- > 0) throw new Error("the process died here");
    this.jobs.push(...jobs);
  }
}

function running(options: Partial<DecisionOptions> = {}): { queue: TableQueue; meter: RecordingMeter } {
  const queue = new TableQueue();
  const meter = new RecordingMeter();
  const database = new Database(poolOf(db.url));
  const decision = new Decision({ database, queue, policy: [], meter, logger: noLogger, pollMs: 20, ...options });
  decision.start();
  onTestFinished(() => decision.stop());
  return { queue, meter };
}

async function decided(): Promise<void> {
  await waitFor(
    async () => {
      const [row] = await db.query("select count(*)::int as n from carillon.inbox_entry where push_due_at is not null");
      return row?.n === 0;
    },
    { what: "everything to be decided", timeoutMs: 30_000 },
  );
}

const jobs = async () => {
  const rows = await db.query("select event_id, installation_id from job order by 1, 2");
  return rows.map(({ event_id, installation_id }) => `${event_id} ${installation_id}`);
};

test("devices without an address, disabled ones and other users' get nothing", async () => {
  await addDevice(db, "ada", "good");
  await addDevice(db, "ada", "mute", { token: null });
  await addDevice(db, "ada", "disabled", { disabled_at: new Date() });
  await addDevice(db, "bob", "bobs");
  const eventId = await notify(db, ["ada", "nobody"]);

  const { queue, meter } = running();
  await decided();

  const [device] = await db.query("select revision from carillon.device where installation_id = 'good'");
  const [entry] = await db.query("select id from carillon.inbox_entry where user_id = 'ada'");
  expect(queue.jobs).toEqual([
    { entryId: entry?.id, eventId, userId: "ada", installationId: "good", revision: device?.revision },
  ]);
  await waitFor(() => meter.counts.get("pushDecisions:no_device") === 1, { what: "the counts" });
  expect(meter.counts.get("pushDecisions:push")).toBe(1);
});

test("nothing is decided before it is due", async () => {
  await addDevice(db, "ada", "a");
  await notify(db, ["ada"]);
  await db.query("update carillon.inbox_entry set push_due_at = now() + interval '1 hour' where user_id = 'ada'");
  await notify(db, ["bob"]);

  const { queue, meter } = running();
  await waitFor(() => meter.counts.get("pushDecisions:no_device") === 1, { what: "bob's to be decided" });

  expect(queue.jobs).toEqual([]);
});

test("many nodes that decide at once hand over each job once", async () => {
  const users = Array.from({ length: 150 }, (_, n) => `user-${n}`);
  for (const user of users) for (const n of [1, 2]) await addDevice(db, user, `${user}-${n}`);
  const events: string[] = [];
  for (let n = 0; n < 6; n++) events.push(await notify(db, users));

  const nodes = [running(), running(), running()];
  await decided();

  const all = await jobs();
  expect(all).toHaveLength(6 * 150 * 2);
  expect(new Set(all).size).toBe(all.length);
  expect(nodes.filter(({ queue }) => queue.jobs.length > 0).length).toBeGreaterThan(1);
});

test("one that dies after its jobs and before its commit leaves both undone, and another decides again", async () => {
  await addDevice(db, "ada", "a");
  const first = await notify(db, ["ada"]);

  const { queue } = running({ pollMs: 50 });
  queue.failures = 2;
  await decided();

  expect(await jobs()).toEqual([`${first} a`]);
});

test("an entry that is read while it is being decided is decided by how it ends up", async () => {
  await addDevice(db, "ada", "a");
  const [reader] = [await poolOf(db.url).connect()];
  onTestFinished(() => reader.release());
  await notify(db, ["ada"]);
  await reader.query("begin; update carillon.inbox_entry set read_at = now()");

  const { meter } = running();
  await notify(db, ["bob"]);
  await waitFor(() => meter.counts.get("pushDecisions:no_device") === 1, { what: "bob's to be decided" });
  expect(meter.counts.get("pushDecisions:push")).toBeUndefined();
  await reader.query("commit");
  await decided();

  expect(await jobs()).toEqual([]);
});

test("decisions go on by themselves after Postgres was away", async () => {
  let failures = 0;
  const { queue } = running({ logger: { ...noLogger, warn: () => failures++ } });
  await db.query("alter table carillon.inbox_entry rename to gone");
  await waitFor(() => failures > 0, { what: "a decision to fail" });
  await db.query("alter table carillon.gone rename to inbox_entry");
  await db
    .query(
      "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()",
    )
    .catch(() => {});
  await addDevice(db, "ada", "a");

  const eventId = await notify(db, ["ada"]);
  await decided();

  expect(queue.jobs).toMatchObject([{ eventId, installationId: "a" }]);
});

test("where transactions are serializable by default, deciding fails none of them that notifies", async () => {
  await db.query("create table stock (id int primary key, n int); insert into stock values (1, 1)");
  await db.query(
    `alter database ${new URL(db.url).pathname.slice(1)} set default_transaction_isolation = serializable`,
  );
  await addDevice(db, "ada", "phone");
  await notify(db, ["ada"]);
  // Those of before have read the setting already.
  const own = poolOf(db.url);
  const notifier = await own.connect();
  onTestFinished(() => notifier.release());
  await notifier.query("begin; select * from stock");
  await own.query("update stock set n = 2");
  const { queue } = running();
  await waitFor(() => queue.jobs.length === 1, { what: "the first push" });

  await notifier.query("select carillon.notify('ada', 'T', 't', 'b')");
  await notifier.query("commit");

  await waitFor(() => queue.jobs.length === 2, { what: "the second push" });
});

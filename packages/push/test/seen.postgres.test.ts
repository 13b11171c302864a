import { noLogger } from "@carillon/core";
import { CarillonError } from "@carillon/protocol";
import { waitFor } from "@carillon/testkit";
import { expect, onTestFinished, test } from "vitest";
import type { Database } from "../src/database.ts";
import { SeenReports } from "../src/seen.ts";
import { notify, RecordingMeter, type Subject, subject } from "./support.ts";

function reportsTo(database: Pick<Database, "rows">, more: { maxWaiting?: number } = {}) {
  const meter = new RecordingMeter();
  const reports = new SeenReports({ database, meter, logger: noLogger, flushMs: 20, ...more });
  onTestFinished(() => reports.stop());
  return { reports, meter };
}

const seen = async (db: Subject) =>
  (await db.query("select event_id, user_id, installation_id from carillon.push_seen order by 1, 2, 3")).map((row) =>
    Object.values(row).join(" "),
  );

test("what is reported is written for the user's own entries, while their push is not decided", async () => {
  const db = await subject();
  const [open, over, bobs] = [await notify(db, ["ada"]), await notify(db, ["ada"]), await notify(db, ["bob"])];
  await db.query("update carillon.inbox_entry set push_due_at = null where event_id = $1", [over]);
  const { reports, meter } = reportsTo(db.database);

  reports.report("ada", "phone", [open, open, over, bobs, "no-event"]);
  reports.report("ada", "desk", [open]);
  await waitFor(() => meter.counts.get("seenReports:recorded") === 2, { what: "the reports" });

  expect(await seen(db)).toEqual([`${open} ada desk`, `${open} ada phone`]);
  expect(meter.counts.get("seenReports:ignored")).toBe(3);
});

test("a stop writes all that waits, in as many statements as it takes", async () => {
  const db = await subject();
  const users = Array.from({ length: 4500 }, (_, n) => `user-${n}`);
  const eventId = await notify(db, users);
  const { reports } = reportsTo(db.database);

  for (const user of users) reports.report(user, "phone", [eventId]);
  await reports.stop();

  expect(await seen(db)).toHaveLength(4500);
});

test("a stop does not wait for a Postgres that is away", async () => {
  const { reports } = reportsTo({ rows: () => Promise.reject(new CarillonError("DATABASE_UNAVAILABLE")) });

  reports.report("ada", "phone", ["an-event"]);
  await reports.stop();
});

test("while Postgres is away reports wait, up to a bound, and are written when it is back", async () => {
  const db = await subject();
  const eventId = await notify(db, ["ada"]);
  let away = true;
  let refused = 0;
  const { reports, meter } = reportsTo(
    {
      rows: async (statement) => {
        if (away) {
          refused++;
          throw new CarillonError("DATABASE_UNAVAILABLE");
        }
        return db.database.rows(statement);
      },
    },
    { maxWaiting: 10 },
  );

  for (let n = 0; n < 12; n++) reports.report("ada", `device-${n}`, [eventId]);
  await waitFor(() => refused > 0, { what: "a report to be refused" });
  away = false;
  await waitFor(() => meter.counts.get("seenReports:recorded") === 10, { what: "the reports", timeoutMs: 10_000 });

  expect(meter.counts.get("seenReports:dropped")).toBe(2);
  expect(await seen(db)).toHaveLength(10);
});

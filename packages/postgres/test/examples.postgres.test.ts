import { readFileSync } from "node:fs";
import { queryAt } from "@carillon/testkit";
import { expect, test } from "vitest";
import { migratedDatabase, RecordingLog, runningBridge } from "./support.ts";

const EXAMPLES = readFileSync(new URL("../../../infra/postgres/examples.sql", import.meta.url), "utf8");

test("the example triggers publish durably, and installing them again changes nothing", async () => {
  const url = await migratedDatabase();
  await queryAt(url, EXAMPLES);
  await queryAt(url, EXAMPLES);

  await queryAt(url, "insert into orders (customer, total) values ('kim', 12.50)");
  await queryAt(url, "update orders set status = 'paid'");
  await queryAt(url, "insert into chat_messages (author, body) values ('kim', $1)", ["x".repeat(20_000)]);
  await queryAt(url, "insert into messages (sender, recipient, body) values ('a', 'b', 'c')");
  const log = new RecordingLog();
  await runningBridge(url, log); // only now: nobody was listening

  const published = await log.waitForPublications(3);
  expect(published.map(({ channel, payload }) => ({ channel, ...JSON.parse(payload ?? "") }))).toMatchObject([
    { channel: "orders", op: "INSERT", id: "1", customer: "kim", status: "created", total: "12.50" },
    { channel: "orders", op: "UPDATE", id: "1", status: "paid" },
    { channel: "chat", op: "INSERT", author: "kim", body: "x".repeat(20_000) },
  ]);
});

/** The first thing that a newcomer tries: a plain WebSocket, one frame, one row. */
import { readFileSync } from "node:fs";
import { connectSql, type NodeServer, type PostgresServer, startNode, startPostgres, waitFor } from "@carillon/testkit";
import { afterAll, beforeAll, expect, test } from "vitest";
import { WebSocket } from "ws";

let postgres: PostgresServer;
let node: NodeServer;
let sql: Awaited<ReturnType<typeof connectSql>>;

beforeAll(async () => {
  postgres = await startPostgres();
  const url = await postgres.createDatabase();
  sql = await connectSql(url);
  await sql.query(readFileSync(new URL("../../../../infra/postgres/examples.sql", import.meta.url), "utf8"));
  node = await startNode({ DATABASE_URL: url });
});
afterAll(async () => {
  await sql?.end();
  await node?.stop();
  await postgres?.stop();
});

test('{"type":"subscribe","channel":"chat"}, an insert into chat_messages, and the notification is there', async () => {
  const socket = new WebSocket(`ws://127.0.0.1:${node.port}/ws`);
  const frames: string[] = [];
  socket.on("message", (data) => frames.push(String(data)));
  socket.on("open", () => socket.send('{"type":"subscribe","channel":"chat"}'));
  await waitFor(() => frames.some((frame) => frame.startsWith('{"type":"subscribed","channel":"chat"')), {
    what: `the subscription; got ${frames}`,
    timeoutMs: 20_000,
  });

  await sql.query("insert into chat_messages (author, body) values ('ada', 'hello')");

  const frame = await waitFor(() => frames.find((one) => one.includes('"notification"')), { what: "the notification" });
  socket.close();
  expect(frame).toMatch(
    /^\{"type":"notification","channel":"chat","payload":\{.*"hello".*\},"id":"\d+-\d+","timestamp":"[^"]+"\}$/,
  );
});

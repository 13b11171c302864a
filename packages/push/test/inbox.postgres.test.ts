import { beforeEach, expect, test } from "vitest";
import { Inbox, type InboxQuery } from "../src/inbox.ts";
import { notify, type Subject, subject } from "./support.ts";

let db: Subject;
let inbox: Inbox;

beforeEach(async () => {
  db = await subject();
  inbox = new Inbox(db.database);
});

async function types(user: string, query: Partial<InboxQuery> = {}): Promise<string[]> {
  const { entries } = await inbox.list(user, { limit: 100, ...query });
  return entries.map(({ type }) => type);
}

test("pages are whole and in order whatever arrives meanwhile", async () => {
  for (let n = 0; n < 7; n++) await notify(db, ["ada", "bob"], `T${n}`);

  const pages: string[][] = [];
  let cursor: string | undefined;
  do {
    const page = await inbox.list("ada", { limit: 3, cursor });
    pages.push(page.entries.map(({ type }) => type));
    cursor = page.cursor ?? undefined;
    await notify(db, ["ada"], "LATER");
  } while (cursor !== undefined);

  expect(pages).toEqual([["T6", "T5", "T4"], ["T3", "T2", "T1"], ["T0"]]);
});

test("an inbox of exactly a page has no other page", async () => {
  for (let n = 0; n < 3; n++) await notify(db, ["ada"]);

  expect((await inbox.list("ada", { limit: 3 })).cursor).toBeNull();
});

test.each(["x", "-1", "1.5", "", "9".repeat(19)])("%j is no cursor", async (cursor) => {
  await expect(inbox.list("ada", { limit: 1, cursor })).rejects.toMatchObject({ code: "INVALID_REQUEST" });
});

test("entries are filtered by what became of them and by type", async () => {
  const [read, archived] = [await notify(db, ["ada"], "READ"), await notify(db, ["ada"], "ARCHIVED")];
  await notify(db, ["ada"], "NEW");
  await inbox.change("ada", "read", [read]);
  await inbox.change("ada", "archive", [archived]);

  expect(await types("ada")).toEqual(["NEW", "ARCHIVED", "READ"]);
  expect(await types("ada", { read: true })).toEqual(["READ"]);
  expect(await types("ada", { read: false, archived: false })).toEqual(["NEW"]);
  expect(await types("ada", { archived: true })).toEqual(["ARCHIVED"]);
  expect(await types("ada", { type: "NEW" })).toEqual(["NEW"]);
  expect(await inbox.counts("ada")).toEqual({ unread: 1, total: 2, archived: 1 });
});

test("numbers in data come back digit for digit", async () => {
  await db.query(`select carillon.notify('ada', 'A', 'T', 'B', '{"id":9007199254740993,"x":1.10}')`);

  const { entries } = await inbox.list("ada", { limit: 1 });

  expect(JSON.stringify(entries[0]?.data)).toBe('{"x":1.10,"id":9007199254740993}');
});

test("nobody changes another's inbox", async () => {
  const eventId = await notify(db, ["ada", "bob"]);
  const bobs = await notify(db, ["bob"]);

  expect(await inbox.change("ada", "read", [eventId, bobs])).toBe(1);
  expect(await inbox.change("ada", "archive", [bobs])).toBe(0);
  expect(await inbox.readAll("ada")).toBe(0);

  expect(await inbox.counts("bob")).toEqual({ unread: 2, total: 2, archived: 0 });
});

test("a change is told once to the user's devices, and what changes nothing is not told", async () => {
  const eventId = await notify(db, ["ada"]);
  await db.query("delete from carillon.outbox");

  for (let n = 0; n < 2; n++) await inbox.change("ada", "read", [eventId, eventId]);

  expect(await db.query("select channel, scope, payload, audience from carillon.outbox")).toEqual([
    { channel: "notifications", scope: "INBOX_CHANGED", payload: null, audience: '{"users": ["ada"]}' },
  ]);
});

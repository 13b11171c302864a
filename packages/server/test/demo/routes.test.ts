import { expect, test } from "vitest";
import { ExampleTables, type Queryable } from "../../src/demo/example-tables.ts";
import { fixture } from "../http/fakes.ts";

const post = { method: "POST", headers: { "content-type": "application/json" }, payload: "{}" } as const;

function database(
  answer: () => Record<string, unknown>[],
): Queryable & { statements: [string, unknown[] | undefined][] } {
  const statements: [string, unknown[] | undefined][] = [];
  return {
    statements,
    async query(text, values) {
      statements.push([text, values]);
      return { rows: answer() };
    },
  };
}

test("approving a trip refreshes /trips", async () => {
  const { app, publisher } = fixture({ demo: {} });

  const response = await app.inject({ ...post, url: "/demo/trips/approve" });

  expect([response.statusCode, response.json()]).toEqual([202, { id: "1-1", channel: "trips" }]);
  expect(publisher.drafts).toEqual([{ channel: "trips", scope: "TRIP_APPROVED" }]);
});

test("orders and chat messages are plain inserts with the text as a parameter", async () => {
  const db = database(() => [{ id: "1" }]);
  const { app } = fixture({ demo: { examples: new ExampleTables(db) } });

  const order = await app.inject({ ...post, url: "/demo/orders" });
  const chat = await app.inject({
    ...post,
    url: "/demo/chat-messages",
    payload: `{"text":"'); DROP TABLE orders --"}`,
  });
  const bare = await app.inject({ method: "POST", url: "/demo/chat-messages" });

  expect([order.statusCode, chat.statusCode, bare.statusCode]).toEqual([201, 201, 201]);
  expect(db.statements.map(([text]) => text)).toEqual([
    expect.stringMatching(/^INSERT INTO orders /),
    expect.stringMatching(/^INSERT INTO chat_messages /),
    expect.stringMatching(/^INSERT INTO chat_messages /),
  ]);
  expect(db.statements[1]?.[1]).toContain("'); DROP TABLE orders --");
});

test.each(["/demo/orders", "/demo/chat-messages"])(
  "%s says why it can't without Postgres or without the tables",
  async (url) => {
    const missing = database(() => {
      throw Object.assign(new Error('relation "orders" does not exist'), { code: "42P01" });
    });

    const without = await fixture({ demo: {} }).app.inject({ ...post, url });
    const empty = await fixture({ demo: { examples: new ExampleTables(missing) } }).app.inject({ ...post, url });

    expect([without.statusCode, without.json().detail]).toEqual([501, expect.stringContaining("DATABASE_URL")]);
    expect([empty.statusCode, empty.json().detail]).toEqual([501, expect.stringContaining("infra/postgres")]);
  },
);

test("a failing database is an internal error without its text", async () => {
  const broken = database(() => {
    throw Object.assign(new Error("secret host"), { code: "57P01" });
  });

  const response = await fixture({ demo: { examples: new ExampleTables(broken) } }).app.inject({
    ...post,
    url: "/demo/orders",
  });

  expect(response.statusCode).toBe(500);
  expect(response.body).not.toContain("secret host");
});

test.each(["/demo/orders", "/demo/chat-messages", "/demo/trips/approve"])(
  "%s does not exist with authentication",
  async (url) => {
    const { app, publisher } = fixture();

    expect((await app.inject({ ...post, url })).statusCode).toBe(404);
    expect(publisher.drafts).toEqual([]);
  },
);

test.each(["null", "[]", '{"text":""}', '{"text":5}', `{"text":"${"x".repeat(501)}"}`])(
  "the chat text %.40s is refused or the default",
  async (payload) => {
    const { app } = fixture({ demo: { examples: new ExampleTables(database(() => [])) } });

    const response = await app.inject({ ...post, url: "/demo/chat-messages", payload });

    expect(response.statusCode).toBe(payload === "null" ? 201 : 422);
  },
);

test("a foreign page can't press the buttons", async () => {
  const { app, publisher } = fixture({ demo: {} });

  const response = await app.inject({
    method: "POST",
    url: "/demo/trips/approve",
    headers: { origin: "https://evil.example" },
  });

  expect(response.statusCode).toBe(403);
  expect(publisher.drafts).toEqual([]);
});

test("the page's policy lets it reach a gateway on a port of its own", async () => {
  const { app } = fixture({ demo: { wsPort: () => 4001 } });

  expect((await app.inject("/demo")).headers["content-security-policy"]).toContain("ws://*:4001");
  expect((await app.inject("/demo/config")).json()).toEqual({
    namespaces: ["trips", "notifications"],
    channels: ["chat", "orders"],
    wsPort: 4001,
    buttons: true,
    inbox: false,
  });
});

import { expect, test } from "vitest";
import { createLogger } from "../../src/ops/logger.ts";

function capture(level = "info") {
  const lines: string[] = [];
  const logger = createLogger({ level, node: "n1", destination: { write: (line) => void lines.push(line) } });
  return { logger, lines, last: () => JSON.parse(lines.at(-1) ?? "{}") };
}

test("a line is JSON with a level by name, an ISO time, the node and a sentence", () => {
  const { logger, last } = capture();

  logger.info({ port: 3000 }, "listening");

  expect(last()).toEqual({
    level: "info",
    time: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
    node: "n1",
    port: 3000,
    msg: "listening",
  });
});

test("lines below the level are not written", () => {
  const { logger, lines } = capture("warn");

  logger.info({}, "quiet");

  expect(lines).toEqual([]);
});

test.each<[string, object | Error, string?]>([
  [
    "headers",
    { headers: { authorization: "Bearer hunter2", Cookie: "sid=hunter2", "proxy-authorization": "Basic hunter2" } },
  ],
  [
    "fields",
    {
      password: "hunter2",
      jwtSecret: "hunter2",
      token: "hunter2",
      REDIS_PASSWORD: "hunter2",
      apiKeys: "a:hunter2",
      ticket: "hunter2",
      privateKey: "hunter2",
    },
  ],
  ["objects", { credentials: { user: "x", value: "hunter2" } }],
  ["nested lists", { a: [{ b: [{ secret: "hunter2" }] }] }],
  ["URLs", { url: "redis://user:hunter2@host:6379/0", other: "see postgres://u:hunter2@h/d?x=1 there" }],
  ["queries", { url: "/events?ticket=hunter2&channel=chat", path: "/x?a=1&access_token=hunter2" }],
  ["bearers in text", { text: "sent Bearer hunter2 to it" }],
  ["messages", {}, "cannot reach redis://:hunter2@host"],
  ["error fields", { err: new Error("connect redis://:hunter2@host", { cause: new Error("GET /x?token=hunter2") }) }],
  ["errors alone", new Error("connect redis://:hunter2@host")],
  ["many errors", { err: new AggregateError([new Error("?password=hunter2")], "all") }],
])("secrets in %s are not written", (_what, fields, message = "a sentence") => {
  const { logger, lines } = capture();

  if (fields instanceof Error) logger.error(fields);
  else logger.error(fields, message);
  logger.child(fields instanceof Error ? { err: fields } : fields).error("again");

  expect(lines).toHaveLength(2);
  expect(lines.join()).not.toContain("hunter2");
  expect(lines[0]).toContain("[redacted]");
});

test("what is no secret stays, and what is large or circular is bounded", () => {
  const { logger, lines, last } = capture();
  const circle: Record<string, unknown> = { n: 1 };
  circle.self = circle;

  logger.info(
    { tokens: 3, url: "https://host/path?page=2", big: 10n, circle, long: "x".repeat(1e6), list: Array(1e5).fill(1) },
    "fine",
  );

  expect(last()).toMatchObject({ tokens: 3, url: "https://host/path?page=2", big: "10", circle: { n: 1 } });
  expect(lines[0]?.length).toBeLessThan(20_000);
});

test("an error keeps its name, code, message and stack", () => {
  const { logger, last } = capture();

  logger.error({ err: Object.assign(new TypeError("boom"), { code: "E1" }) }, "failed");

  expect(last().err).toMatchObject({
    type: "TypeError",
    code: "E1",
    message: "boom",
    stack: expect.stringContaining("logger.test"),
  });
});

import { ERRORS, type ErrorCode } from "@carillon/protocol";
import type { LightMyRequestResponse } from "fastify";
import { describe, expect, test } from "vitest";
import { fixture } from "./fakes.ts";

interface Nonsense {
  readonly what: string;
  readonly headers?: Record<string, string>;
  readonly body?: string | Buffer;
  readonly code: ErrorCode;
}

const json = { "content-type": "application/json" };
const deep = (open: string, close: string) => open.repeat(100) + close.repeat(100);

/** Wrong wherever JSON is taken. */
const ANYWHERE: readonly Nonsense[] = [
  { what: "no body and no type", headers: {}, code: "INVALID_JSON" },
  { what: "an empty body", body: "", code: "INVALID_JSON" },
  { what: "whitespace", body: " \n\t", code: "INVALID_JSON" },
  { what: "a byte order mark alone", body: "\ufeff", code: "INVALID_JSON" },
  { what: "a brace", body: "{", code: "INVALID_JSON" },
  { what: "a closed brace too many", body: "{}}", code: "INVALID_JSON" },
  { what: "bare words", body: "hello", code: "INVALID_JSON" },
  { what: "undefined", body: "undefined", code: "INVALID_JSON" },
  { what: "NaN", body: "NaN", code: "INVALID_JSON" },
  { what: "Infinity", body: "[Infinity]", code: "INVALID_JSON" },
  { what: "single quotes", body: "{'a':1}", code: "INVALID_JSON" },
  { what: "a trailing comma", body: '{"a":1,}', code: "INVALID_JSON" },
  { what: "a comment", body: "/* x */ {}", code: "INVALID_JSON" },
  { what: "two documents", body: "{}\n{}", code: "INVALID_JSON" },
  { what: "a leading zero", body: "[01]", code: "INVALID_JSON" },
  { what: "a plus", body: "[+1]", code: "INVALID_JSON" },
  { what: "a hex number", body: "[0x1]", code: "INVALID_JSON" },
  { what: "a raw newline in a string", body: '"a\nb"', code: "INVALID_JSON" },
  { what: "a raw NUL in a string", body: '"a\u0000b"', code: "INVALID_JSON" },
  { what: "a bad escape", body: '"\\x41"', code: "INVALID_JSON" },
  { what: "half a unicode escape", body: '"\\u12"', code: "INVALID_JSON" },
  { what: "an open string", body: '{"a":"b', code: "INVALID_JSON" },
  { what: "a lone UTF-8 byte", body: Buffer.from([0x22, 0xff, 0x22]), code: "INVALID_JSON" },
  { what: "a cut UTF-8 sequence", body: Buffer.from([0x22, 0xe2, 0x82, 0x22]), code: "INVALID_JSON" },
  { what: "an overlong UTF-8 slash", body: Buffer.from([0x22, 0xc0, 0xaf, 0x22]), code: "INVALID_JSON" },
  { what: "a UTF-8 surrogate", body: Buffer.from([0x22, 0xed, 0xa0, 0x80, 0x22]), code: "INVALID_JSON" },
  { what: "UTF-16", body: Buffer.from('{"a":1}', "utf16le"), code: "INVALID_JSON" },
  { what: "gzip bytes", body: Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0]), code: "INVALID_JSON" },
  { what: "a form in JSON's clothes", body: "a=1&b=2", code: "INVALID_JSON" },
  { what: "XML", body: "<a/>", code: "INVALID_JSON" },
  { what: "100 open arrays", body: deep("[", "]"), code: "INVALID_REQUEST" },
  { what: "100 open objects", body: `${'{"a":'.repeat(100)}1${"}".repeat(100)}`, code: "INVALID_REQUEST" },
  { what: "100,000 open arrays", body: "[".repeat(100_000), code: "INVALID_REQUEST" },
  { what: "text/plain", headers: { "content-type": "text/plain" }, body: "{}", code: "UNSUPPORTED_MEDIA_TYPE" },
  {
    what: "a form",
    headers: { "content-type": "application/x-www-form-urlencoded" },
    body: "a=1",
    code: "UNSUPPORTED_MEDIA_TYPE",
  },
  {
    what: "multipart",
    headers: { "content-type": "multipart/form-data; boundary=x" },
    body: "--x--",
    code: "UNSUPPORTED_MEDIA_TYPE",
  },
  { what: "a body without a type", headers: { "content-length": "2" }, body: "{}", code: "UNSUPPORTED_MEDIA_TYPE" },
  { what: "an empty type", headers: { "content-type": "" }, body: "{}", code: "UNSUPPORTED_MEDIA_TYPE" },
  { what: "a broken type", headers: { "content-type": "json" }, body: "{}", code: "UNSUPPORTED_MEDIA_TYPE" },
  {
    what: "a longer type",
    headers: { "content-type": "application/jsonp" },
    body: "{}",
    code: "UNSUPPORTED_MEDIA_TYPE",
  },
  {
    what: "problem+json",
    headers: { "content-type": "application/problem+json" },
    body: "{}",
    code: "UNSUPPORTED_MEDIA_TYPE",
  },
  {
    what: "another charset",
    headers: { "content-type": "application/json; charset=latin1" },
    body: "{}",
    code: "UNSUPPORTED_MEDIA_TYPE",
  },
  {
    what: "a quoted other charset",
    headers: { "content-type": 'application/json;charset="utf-16"' },
    body: "{}",
    code: "UNSUPPORTED_MEDIA_TYPE",
  },
  {
    what: "a content encoding",
    headers: { ...json, "content-encoding": "gzip" },
    body: "{}",
    code: "UNSUPPORTED_MEDIA_TYPE",
  },
  { what: "9 MiB", body: JSON.stringify("x".repeat(9_437_184)), code: "PAYLOAD_TOO_LARGE" },
  {
    what: "a user name with a control character",
    headers: { ...json, "x-carillon-user": "a\u0001" },
    body: "{}",
    code: "INVALID_ID",
  },
  { what: "an empty user name", headers: { ...json, "x-carillon-user": "" }, body: "{}", code: "INVALID_ID" },
  { what: "a foreign origin", headers: { ...json, origin: "https://evil.example" }, body: "{}", code: "FORBIDDEN" },
  { what: "the origin null", headers: { ...json, origin: "null" }, body: "{}", code: "FORBIDDEN" },
];

const KEYS: readonly Nonsense[] = [
  { what: "an empty key", headers: { ...json, "idempotency-key": "" }, code: "INVALID_REQUEST" },
  { what: "a key of 256", headers: { ...json, "idempotency-key": "k".repeat(256) }, code: "INVALID_REQUEST" },
  { what: "a key with a space", headers: { ...json, "idempotency-key": "a b" }, code: "INVALID_REQUEST" },
  { what: "a key with a tab", headers: { ...json, "idempotency-key": "a\tb" }, code: "INVALID_REQUEST" },
  { what: "a key beyond ASCII", headers: { ...json, "idempotency-key": "schlüssel" }, code: "INVALID_REQUEST" },
];

/** JSON that isn't the shape of an object. */
const WRONG_SHAPES = ["null", "true", "0", "1.0", '""', '"x"', "[]", "[[]]"];

const REFRESH: readonly [string, ErrorCode][] = [
  ...WRONG_SHAPES.map((text): [string, ErrorCode] => [text, "INVALID_REQUEST"]),
  ["{}", "INVALID_REQUEST"],
  ['{"Scope":"A"}', "INVALID_REQUEST"],
  ['{"scope":"A","extra":1}', "INVALID_REQUEST"],
  ['{"scope":"A","__proto__":{}}', "INVALID_REQUEST"],
  ['{"scope":""}', "INVALID_SCOPE"],
  ['{"scope":" "}', "INVALID_SCOPE"],
  ['{"scope":"a b"}', "INVALID_SCOPE"],
  ['{"scope":"é"}', "INVALID_SCOPE"],
  ['{"scope":"a\\u0000"}', "INVALID_SCOPE"],
  [`{"scope":"${"A".repeat(129)}"}`, "INVALID_SCOPE"],
  ['{"scope":1}', "INVALID_REQUEST"],
  ['{"scope":null}', "INVALID_REQUEST"],
  ['{"scope":["A"]}', "INVALID_REQUEST"],
  ['{"scope":"A","to":null}', "INVALID_REQUEST"],
  ['{"scope":"A","to":[]}', "INVALID_REQUEST"],
  ['{"scope":"A","to":{"user":["1"]}}', "INVALID_REQUEST"],
  ['{"scope":"A","to":{"users":"1"}}', "INVALID_REQUEST"],
  ['{"scope":"A","to":{"users":[null]}}', "INVALID_ID"],
  ['{"scope":"A","to":{"users":[1.5]}}', "INVALID_ID"],
  ['{"scope":"A","to":{"users":[1e400]}}', "INVALID_ID"],
  ['{"scope":"A","to":{"users":[-0]}}', "INVALID_ID"],
  ['{"scope":"A","to":{"users":[{}]}}', "INVALID_ID"],
  ['{"scope":"A","to":{"users":[""]}}', "INVALID_ID"],
  ['{"scope":"A","to":{"users":["a\\nb"]}}', "INVALID_ID"],
  ['{"scope":"A","to":{"users":["\\ud800"]}}', "INVALID_ID"],
  [`{"scope":"A","to":{"roles":["${"é".repeat(65)}"]}}`, "INVALID_ID"],
  ['{"scope":"A","to":{"tenants":[true]}}', "INVALID_ID"],
  ['{"scope":"A","to":{"rooms":["a b"]}}', "INVALID_ROOM"],
  ['{"scope":"A","to":{"rooms":[".a"]}}', "INVALID_ROOM"],
  ['{"scope":"A","to":{"except":{"roles":["a"]}}}', "INVALID_REQUEST"],
  ['{"scope":"A","to":{"except":{"sockets":[1]}}}', "INVALID_REQUEST"],
  [`{"scope":"A","to":{"users":[${"1,".repeat(10_000)}1]}}`, "INVALID_REQUEST"],
  ['{"scope":"A","push":{}}', "INVALID_REQUEST"],
  ['{"scope":"A","push":true}', "INVALID_REQUEST"],
];

const BATCH: readonly [string, ErrorCode][] = [
  ...WRONG_SHAPES.map((text): [string, ErrorCode] => [text, "INVALID_REQUEST"]),
  ["{}", "INVALID_REQUEST"],
  ['{"publications":{}}', "INVALID_REQUEST"],
  ['{"publications":null}', "INVALID_REQUEST"],
  ['{"publications":[]}', "INVALID_REQUEST"],
  [`{"publications":[${"0,".repeat(1000)}0]}`, "INVALID_REQUEST"],
  ['{"publications":[1],"x":1}', "INVALID_REQUEST"],
];

const ROUTES = ["/api/notifications/chat", "/api/refresh/trips", "/api/publications"];

function expectProblem(response: LightMyRequestResponse, code: ErrorCode): void {
  expect(response.json()).toMatchObject({ code });
  expect(response.statusCode).toBe(ERRORS[code].status);
  expect(response.headers["content-type"]).toMatch(/^application\/problem\+json/);
  const problem = response.json();
  expect(Object.keys(problem).sort()).toEqual(["code", "detail", "requestId", "status", "title", "type"]);
  expect(problem.requestId).toBe(response.headers["x-request-id"]);
  expect(response.body).not.toMatch(/node_modules|\.ts:|at .*\(/);
}

describe.each(ROUTES)("POST %s", (url) => {
  const { app, publisher } = fixture();

  test.each(ANYWHERE)("refuses $what with $code", async ({ headers = json, body, code }) => {
    const response = await app.inject({ method: "POST", url, headers, ...(body !== undefined && { payload: body }) });

    expectProblem(response, code);
    if (code === "UNSUPPORTED_MEDIA_TYPE") expect(response.json().detail).toContain("Content-Type");
    expect(publisher.drafts).toEqual([]);
  });

  test.each(KEYS)("refuses $what with $code", async ({ headers = json, code }) => {
    const body = url.endsWith("publications") ? '{"publications":[{"channel":"a","payload":1}]}' : '{"scope":"A"}';

    const response = await app.inject({ method: "POST", url, headers, payload: body });

    expectProblem(response, code);
    expect(publisher.drafts).toEqual([]);
  });

  test("still takes the next good one", async () => {
    const body = url.endsWith("publications") ? '{"publications":[{"channel":"a","payload":1}]}' : '{"scope":"A"}';

    const response = await app.inject({ method: "POST", url, headers: json, payload: body });

    expect(response.statusCode).toBe(202);
  });
});

test.each(REFRESH)("a refresh %.60s is %s", async (body, code) => {
  const { app, publisher } = fixture();

  expectProblem(await app.inject({ method: "POST", url: "/api/refresh/trips", headers: json, payload: body }), code);
  expect(publisher.drafts).toEqual([]);
});

test.each(BATCH)("a batch %.60s is %s", async (body, code) => {
  const { app, publisher } = fixture();

  expectProblem(await app.inject({ method: "POST", url: "/api/publications", headers: json, payload: body }), code);
  expect(publisher.drafts).toEqual([]);
});

// biome-ignore format: a table
const BAD_NAMES = [
  "%20", "a%20b", ".a", ":a", "-a", "a%00", "a%0a", "%C3%A9", "%F0%9F%98%80", "a%2Fb", "a,b", "a*b", "a@b", "(a)", "%22", "'",
  "a".repeat(64), "a".repeat(1000), "%E2%80%8F", "..%2F..%2Fetc",
];

test.each(BAD_NAMES)("the channel %.30s is INVALID_CHANNEL on every route", async (name) => {
  const { app } = fixture();
  const post = (url: string) => app.inject({ method: "POST", url, headers: json, payload: '{"scope":"A"}' });

  expectProblem(await post(`/api/notifications/${name}`), "INVALID_CHANNEL");
  expectProblem(await post(`/api/refresh/${name}`), "INVALID_CHANNEL");
  expectProblem(await app.inject(`/api/channels/${name}/publications`), "INVALID_CHANNEL");
});

// biome-ignore format: a table
test.each([
  ["limit=0", "INVALID_REQUEST"], ["limit=-1", "INVALID_REQUEST"], ["limit=1001", "INVALID_REQUEST"], ["limit=x", "INVALID_REQUEST"],
  ["limit=1.5", "INVALID_REQUEST"], ["limit=1e2", "INVALID_REQUEST"], ["limit=", "INVALID_REQUEST"], ["limit=1&limit=2", "INVALID_REQUEST"],
  ["limit=9999999999", "INVALID_REQUEST"], ["since=a&since=b", "INVALID_REQUEST"], [`since=${"1".repeat(129)}`, "INVALID_REQUEST"],
] as const)("a history query %.40s is %s", async (query, code) => {
  const { app } = fixture();

  expectProblem(await app.inject(`/api/channels/chat/publications?${query}`), code);
});

// biome-ignore format: a table
test.each([
  ["GET", "/", "NOT_FOUND"], ["GET", "/nowhere", "NOT_FOUND"], ["POST", "/api", "NOT_FOUND"], ["GET", "//", "NOT_FOUND"],
  ["POST", "/api/notifications", "NOT_FOUND"], ["POST", "/api/notifications/a/b", "NOT_FOUND"],
  ["GET", "/api/%zz", "BAD_REQUEST"], ["GET", "/%c0%ae", "BAD_REQUEST"], ["GET", "/../../etc/passwd", "NOT_FOUND"],
  ["GET", "/docs/static/nothing.js", "NOT_FOUND"], ["GET", "/docs/static/..%2f..%2fpackage.json", "NOT_FOUND"],
  ["GET", "/docs/static/%2e%2e/index.js", "NOT_FOUND"], ["GET", "/demo/../package.json", "NOT_FOUND"],
  ["GET", "/api/notifications/chat", "METHOD_NOT_ALLOWED"], ["PUT", "/api/notifications/chat", "METHOD_NOT_ALLOWED"],
  ["DELETE", "/api/refresh/trips", "METHOD_NOT_ALLOWED"], ["PATCH", "/api/publications", "METHOD_NOT_ALLOWED"],
  ["POST", "/api/channels/chat/publications", "METHOD_NOT_ALLOWED"], ["POST", "/healthz", "METHOD_NOT_ALLOWED"],
  ["DELETE", "/readyz", "METHOD_NOT_ALLOWED"], ["POST", "/metrics", "METHOD_NOT_ALLOWED"], ["PUT", "/demo", "METHOD_NOT_ALLOWED"],
  ["OPTIONS", "/healthz", "METHOD_NOT_ALLOWED"], ["TRACE", "/healthz", "METHOD_NOT_ALLOWED"], ["PROPFIND", "/healthz", "METHOD_NOT_ALLOWED"],
] as const)("%s %s is %s", async (method, url, code) => {
  const { app } = fixture();

  const response = await app.inject({ method: method as "GET", url });

  expectProblem(response, code);
  if (code === "METHOD_NOT_ALLOWED") expect(response.headers.allow).toMatch(/^(POST|GET, HEAD)$/);
});

test("what isn't there is 404 whatever body it is sent", async () => {
  const { app } = fixture();

  const response = await app.inject({
    method: "POST",
    url: "/nowhere",
    headers: { "content-type": "image/png" },
    payload: "x",
  });

  expectProblem(response, "NOT_FOUND");
});

test("refusals are counted by code, and logged once a minute", async () => {
  const { app, lines } = fixture();
  for (let i = 0; i < 5; i++)
    await app.inject({ method: "POST", url: "/api/refresh/trips", headers: json, payload: "{" });

  const metrics = (await app.inject("/metrics")).body;

  expect(metrics).toContain('carillon_publications_refused_total{ingress="rest",reason="INVALID_JSON"} 5');
  expect(lines.filter((line) => line.msg === "publication refused")).toHaveLength(1);
});

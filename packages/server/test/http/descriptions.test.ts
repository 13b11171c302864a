/** `/openapi.json` and `/asyncapi.json`, by the judgement of others. */
import { createRequire } from "node:module";
import { ERRORS, EVENT, REQUEST } from "@carillon/protocol";
import { Validator } from "@seriousme/openapi-schema-validator";
import { expect, test, vi } from "vitest";
import { fixture } from "./fakes.ts";

// Its ES module build imports without file extensions, which Node does not take.
const { Parser } = createRequire(import.meta.url)("@asyncapi/parser") as typeof import("@asyncapi/parser");

// The validators compile the standards' own schemas first.
vi.setConfig({ testTimeout: 60_000 });

test("the OpenAPI description is valid, and has every error code", async () => {
  const { app } = fixture();
  const description = (await app.inject("/openapi.json")).json();

  const { valid, errors } = await new Validator().validate(description);

  expect(errors ?? []).toEqual([]);
  expect(valid).toBe(true);
  const codes = description.components.schemas.Problem.properties.code.enum;
  expect(codes).toEqual(Object.keys(ERRORS));
});

test("the AsyncAPI description is valid, and its own parser finds every event and request in it", async () => {
  const { app } = fixture();
  const text = (await app.inject({ url: "/asyncapi.json", headers: { host: "realtime.example.com" } })).body;

  const { document, diagnostics } = await new Parser().parse(text);

  expect(diagnostics.filter(({ severity }) => severity === 0)).toEqual([]);
  const names = (channel: string) =>
    document
      ?.channels()
      .get(channel)
      ?.messages()
      .all()
      .map((message) => message.name());
  expect(names("refreshNamespace")).toEqual(expect.arrayContaining([EVENT.refresh, EVENT.ready, REQUEST.join]));
  expect(names("channelNamespace")).toEqual(
    expect.arrayContaining([...Object.values(EVENT), ...Object.values(REQUEST)]),
  );
  expect(names("plainWebSocket")).toEqual(expect.arrayContaining(["ready", "refresh", "subscribed", "auth", "ping"]));
  expect(names("serverSentEvents")).toEqual(["ready", "notification", "refresh", "gap"]);
  expect(document?.servers().get("webSocket")?.host()).toBe("realtime.example.com");
  expect(document?.operations().all().length).toBeGreaterThan(10);
});

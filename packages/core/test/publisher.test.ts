import { CarillonError, type JsonText } from "@carillon/protocol";
import { expect, test } from "vitest";
import { type AppendRequest, type AppendResult, MemoryLog, Publisher, TOKEN_TTL_S } from "../src/index.ts";
import { countingMeter, eventually, message } from "./support.ts";

function subject(
  options: { coalesceMs?: number; append?: (requests: readonly AppendRequest[]) => Promise<AppendResult[]> } = {},
) {
  const log = new MemoryLog();
  const meter = countingMeter();
  const append = options.append ?? ((requests) => log.append(requests));
  const publisher = new Publisher({
    log: { append },
    meter,
    coalesceMs: options.coalesceMs ?? 0,
    maxPayloadBytes: 100,
  });
  return { log, meter, publisher };
}

test("a publication is answered with its place in the log", async () => {
  const { publisher, log, meter } = subject();

  const id = await publisher.publish(message("chat", 1), { ingress: "rest" });

  const { entries } = await log.read({ epoch: 0, n: 0 }, 10);
  expect(entries.map((entry) => entry.id)).toEqual([id]);
  expect(meter.sum("publications", { ingress: "rest" })).toBe(1);
});

test.each([
  ["x".repeat(98), true],
  ["x".repeat(99), false],
  ["é".repeat(49), true],
  ["é".repeat(50), false],
  ["😀".repeat(24), true],
  ["😀".repeat(25), false],
])("the payload's bound is in bytes: %s", async (text, fits) => {
  const { publisher, log, meter } = subject();

  const outcome = await publisher.publish(message("chat", text), { ingress: "rest" }).then(
    () => true,
    (error: CarillonError) => error.code,
  );

  expect(outcome).toBe(fits || "PAYLOAD_TOO_LARGE");
  expect((await log.head()).n).toBe(fits ? 1 : 0);
  expect(meter.sum("publicationsRefused", { reason: "PAYLOAD_TOO_LARGE" })).toBe(fits ? 0 : 1);
});

test("the same token gives the same id, and another request under it is refused", async () => {
  const { publisher, log, meter } = subject();
  const token = { key: "k", fingerprint: "f" };

  const first = await publisher.publish(message("chat", 1), { ingress: "rest", token });
  const again = await publisher.publish(message("chat", 1), { ingress: "rest", token });
  const other = publisher.publish(message("chat", 2), { ingress: "rest", token: { ...token, fingerprint: "g" } });

  expect(again).toBe(first);
  await expect(other).rejects.toMatchObject({ code: "IDEMPOTENCY_KEY_REUSED" });
  expect((await log.head()).n).toBe(1);
  expect(meter.sum("publications")).toBe(1);
  expect(meter.sum("publicationsRefused", { reason: "IDEMPOTENCY_KEY_REUSED" })).toBe(1);
});

test("a token is remembered for a day", async () => {
  const asked: AppendRequest[] = [];
  const { publisher } = subject({
    append: async (requests) => {
      asked.push(...requests);
      return [{ outcome: "appended", id: "1-1" }];
    },
  });

  await publisher.publish(message("chat", 1), { ingress: "rest", token: { key: "k", fingerprint: "f" } });

  expect(asked[0]?.token).toEqual({ key: "k", fingerprint: "f", ttlS: 86_400 });
  expect(TOKEN_TTL_S).toBe(86_400);
});

test("an Idempotency-Key switches coalescing off", async () => {
  const { publisher, log } = subject({ coalesceMs: 60_000 });

  for (const key of ["a", "b", "c"]) {
    await publisher.publish({ channel: "trips", scope: "A" }, { ingress: "rest", token: { key, fingerprint: "" } });
  }

  expect((await log.head()).n).toBe(3);
});

test("what is not yet answered is in flight, at a window's end too", async () => {
  const held = Promise.withResolvers<AppendResult[]>();
  const { publisher } = subject({ coalesceMs: 20, append: () => held.promise });
  const refresh = { channel: "trips", scope: "A" };

  const answers = [1, 2, 3].map(() => publisher.publish(refresh, { ingress: "rest" }));
  const batch = publisher.append([{ draft: message("chat") }, { draft: message("chat") }], "postgres");
  expect(publisher.inFlight).toBe(5);
  held.resolve([
    { outcome: "appended", id: "1-1" },
    { outcome: "appended", id: "1-2" },
  ]);
  await Promise.all([...answers, batch]);

  expect(publisher.inFlight).toBe(0);
});

test("a failure is counted with its reason, and a bug is passed on unchanged", async () => {
  let failure: Error = new CarillonError("BUS_UNAVAILABLE");
  const { publisher, meter } = subject({ append: () => Promise.reject(failure) });

  await expect(publisher.publish(message("chat"), { ingress: "clients" })).rejects.toBe(failure);
  await expect(publisher.append([{ draft: message("chat") }, { draft: message("chat") }], "redis")).rejects.toBe(
    failure,
  );
  failure = new RangeError("a bug");
  await expect(publisher.publish(message("chat"), { ingress: "clients" })).rejects.toBe(failure);

  expect(meter.sum("publicationsRefused", { ingress: "clients", reason: "BUS_UNAVAILABLE" })).toBe(1);
  expect(meter.sum("publicationsRefused", { ingress: "redis" })).toBe(2);
  await eventually(() => expect(publisher.inFlight).toBe(0));
});

test("a batch is answered in order, and only what was appended is counted", async () => {
  const { publisher, meter } = subject();
  const fence = { source: "s", position: [1, 1] as const };

  const first = await publisher.append(
    [{ draft: message("chat", 1), fence }, { draft: message("chat", 2) }],
    "postgres",
  );
  const again = await publisher.append([{ draft: message("chat", 1), fence }, { draft: { gap: {} } }], "postgres");

  expect([...first, ...again].map(({ outcome }) => outcome)).toEqual(["appended", "appended", "fenced", "appended"]);
  expect(meter.sum("publications", { ingress: "postgres" })).toBe(3);
});

test("a gap has no payload to measure", async () => {
  const { publisher } = subject();

  expect(await publisher.publish({ gap: { channels: ["chat"] } }, { ingress: "postgres" })).toMatch(/-1$/);
  expect(
    await publisher.publish({ channel: "chat", truncated: '{"bytes":7}' as JsonText }, { ingress: "postgres" }),
  ).toMatch(/-2$/);
});

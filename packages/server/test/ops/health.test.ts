import { CarillonError } from "@carillon/protocol";
import { expect, test } from "vitest";
import { Health } from "../../src/ops/health.ts";

function ready(): Health {
  const health = new Health({ timeoutMs: 50 });
  health.enter("ready");
  return health;
}

test("a node is down while it starts and while it drains, and draining is final", async () => {
  const health = new Health();

  expect(await health.readiness()).toEqual({
    status: "down",
    checks: { node: { status: "down", reason: "starting" } },
  });
  health.enter("ready");
  expect((await health.readiness()).status).toBe("ok");
  health.enter("draining");
  health.enter("ready");

  expect(await health.readiness()).toEqual({
    status: "down",
    checks: { node: { status: "down", reason: "draining" } },
  });
});

test("the worst check decides", async () => {
  const health = ready();
  health.add("postgres", "degraded", () => ({ status: "degraded", reason: "reconnecting" }));
  expect((await health.readiness()).status).toBe("degraded");

  health.add("bus", "down", async () => ({ status: "down", reason: "deaf" }));

  expect(await health.readiness()).toMatchObject({
    status: "down",
    checks: { postgres: { reason: "reconnecting" }, bus: { reason: "deaf" } },
  });
});

test("a hanging dependency is told within the bound, each as it was registered", async () => {
  const health = new Health();
  health.enter("ready");
  health.add("bus", "down", () => new Promise(() => {}));
  health.add("postgres", "degraded", () => new Promise(() => {}));
  const before = performance.now();

  const { status, checks } = await health.readiness();

  expect(performance.now() - before).toBeLessThan(1000);
  expect(status).toBe("down");
  expect(checks).toMatchObject({
    bus: { status: "down", reason: "no answer in 700 ms" },
    postgres: { status: "degraded" },
  });
});

test("reasons hold no secrets, and a driver's error is not shown at all", async () => {
  const health = ready();
  health.add("a", "degraded", () => ({
    status: "degraded",
    reason: `cannot reach redis://u:hunter2@h ${"x".repeat(1000)}`,
  }));
  health.add("b", "degraded", () => {
    throw new Error("password authentication failed for user hunter2");
  });
  health.add("c", "degraded", async () => {
    throw new CarillonError("BUS_UNAVAILABLE", "no answer for 3 s");
  });

  const { checks } = await health.readiness();

  expect(JSON.stringify(checks)).not.toContain("hunter2");
  expect(checks.a?.reason?.length).toBeLessThanOrEqual(200);
  expect(checks.b).toEqual({ status: "degraded", reason: "the check failed" });
  expect(checks.c).toEqual({ status: "degraded", reason: "no answer for 3 s" });
});

test("probes at the same time share one run of the checks", async () => {
  const health = ready();
  let runs = 0;
  health.add("bus", "down", async () => {
    runs++;
    await new Promise((resolve) => setImmediate(resolve));
    return { status: "ok" };
  });

  await Promise.all(Array.from({ length: 20 }, () => health.readiness()));
  expect(runs).toBe(1);
  await health.readiness();

  expect(runs).toBe(2);
});

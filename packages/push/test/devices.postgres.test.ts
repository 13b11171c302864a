import { beforeEach, describe, expect, test } from "vitest";
import { Database } from "../src/database.ts";
import { Devices } from "../src/devices.ts";
import { poolOf, RecordingMeter, type Subject, subject } from "./support.ts";

let db: Subject;
let meter: RecordingMeter;
let devices: Devices;

beforeEach(async () => {
  db = await subject();
  meter = new RecordingMeter();
  devices = new Devices({ database: db.database, meter });
});

const phone = (token?: string) => ({ platform: "android" as const, ...(token !== undefined && { token }) });
const owners = async () => {
  const rows = await db.query("select installation_id as i, user_id as u, token as t from carillon.device order by 1");
  return rows.map(({ i, u, t }) => `${i} ${u} ${t}`);
};

test("a registration is the whole state: what is left out is no longer so", async () => {
  await devices.register("ada", "i", { ...phone("t1"), locale: "de-CH", appVersion: "1" }, "session");

  const device = await devices.register("ada", "i", { platform: "ios", fid: "f1" });

  expect(device).toMatchObject({
    installationId: "i",
    platform: "ios",
    locale: null,
    appVersion: null,
    reachable: true,
  });
  expect(await db.query("select token, fid, sid, user_id from carillon.device")).toEqual([
    { token: null, fid: "f1", sid: null, user_id: "ada" },
  ]);
});

test("each registration has another revision, after a deletion too, and makes a disabled device good again", async () => {
  const revisions: unknown[] = [];
  for (const step of ["register", "disable", "register", "remove", "register"]) {
    if (step === "register") {
      await devices.register("ada", "i", phone("t"));
      const [row] = await db.query("select revision, disabled_at from carillon.device");
      expect(row?.disabled_at).toBeNull();
      revisions.push(row?.revision);
    } else if (step === "remove") await devices.remove("ada", "i");
    else await db.query("update carillon.device set disabled_at = now(), disabled_reason = 'x'");
  }

  expect(new Set(revisions).size).toBe(3);
});

describe("an address has one owner", () => {
  test("on a shared phone: the next user's registration takes the installation", async () => {
    await devices.register("ada", "i", phone("t"));
    await devices.register("bob", "i", phone("t"));

    expect(await owners()).toEqual(["i bob t"]);
  });

  test("a token that comes back from another installation leaves the old one", async () => {
    await devices.register("ada", "i", phone("t"));
    await devices.register("bob", "j", phone("t"));
    await devices.register("bob", "k", { platform: "web", fid: "f" });
    await devices.register("ada", "l", { platform: "web", fid: "f" });

    expect(await owners()).toEqual(["j bob t", "l ada null"]);
    expect(meter.counts.get("devicesRemoved:moved")).toBe(2);
  });

  test("whichever nodes claim it at once, and whichever installations swap", async () => {
    const nodes = [1, 2, 3].map(() => new Devices({ database: new Database(poolOf(db.url)), meter }));
    const claims: Promise<unknown>[] = [];
    for (let round = 0; round < 40; round++) {
      for (const [n, node] of nodes.entries()) {
        claims.push(node.register(`user-${n}`, `i-${(round + n) % 4}`, phone(`t-${(round * 7 + n) % 3}`)));
      }
    }
    await Promise.all(claims);

    const rows = await db.query("select token, count(*)::int as n from carillon.device group by 1 having count(*) > 1");
    expect(rows).toEqual([]);
    expect((await owners()).length).toBeLessThanOrEqual(3);
  });
});

test("a user's 26th device makes the one go that was registered longest ago", async () => {
  for (let n = 0; n < 25; n++) await devices.register("ada", `i-${n}`, phone(`t-${n}`));
  await devices.register("ada", "i-0", phone("t-0"));
  await devices.register("bob", "b", phone("b"));

  await devices.register("ada", "i-25", phone("t-25"));

  const ids = (await db.query("select installation_id as i from carillon.device where user_id = 'ada'")).map(
    ({ i }) => i,
  );
  expect(ids).toHaveLength(25);
  expect(ids).not.toContain("i-1");
  expect(meter.counts.get("devicesRemoved:too_many")).toBe(1);
});

test("logout takes away one's own device and nobody else's", async () => {
  await devices.register("ada", "i", phone("t"));

  await devices.remove("bob", "i");
  expect(await owners()).toEqual(["i ada t"]);
  await devices.remove("ada", "i");

  expect(await owners()).toEqual([]);
});

test("a revoked session loses its device, a revoked user all of them", async () => {
  await devices.register("ada", "a", phone("1"), "s1");
  await devices.register("ada", "b", phone("2"), "s2");
  await devices.register("ada", "c", phone("3"));
  await devices.register("bob", "d", phone("4"), "s1");

  await devices.revoke("ada", "s1");
  expect(await owners()).toEqual(["b ada 2", "c ada 3", "d bob 4"]);
  await devices.revoke("ada");

  expect(await owners()).toEqual(["d bob 4"]);
});

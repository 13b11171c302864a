import { expect, test } from "vitest";
import { ApiKeys } from "../../src/auth/api-keys.ts";
import { Callers } from "../../src/auth/callers.ts";
import { Patterns } from "../../src/auth/patterns.ts";
import { tokenPolicy } from "../../src/auth/policy.ts";
import type { Principal } from "../../src/auth/principal.ts";
import { mayRead } from "../../src/gateway/audience.ts";

const namespaces = new Set(["notifications", "trips", "users"]);
const policy = tokenPolicy({
  namespaces,
  namespaceRoles: new Map([["users", new Set(["admin", "manager"])]]),
  openChannels: ["news", "public.*"],
  operatorRole: "ops",
});
const principal = (claims: object = {}, more: Partial<Principal> = {}): Principal => ({
  user: "42",
  roles: [],
  tenant: undefined,
  sid: undefined,
  kind: "user",
  grants: new Patterns(namespaces).grants({ ...claims }),
  expiresMs: 9e15,
  issuedMs: 0,
  ...more,
});
const hears = (who: Principal, ...channels: string[]) => channels.filter((channel) => policy.mayHear(who, channel));

test("refresh namespaces are for every authenticated user, but those that roles close", () => {
  const [user, manager] = [principal(), principal({}, { roles: ["manager"] })];

  expect(hears(user, "notifications", "trips", "users")).toEqual(["notifications", "trips"]);
  expect(hears(manager, "notifications", "trips", "users")).toEqual(["notifications", "trips", "users"]);
  expect(["/trips", "/users", "/channels", "/"].filter((name) => policy.mayEnter(user, name))).toEqual([
    "/trips",
    "/channels",
    "/",
  ]);
  expect(policy.mayEnter(manager, "/users")).toBe(true);
});

test("no pattern opens what roles close", () => {
  expect(hears(principal({ channels: ["*", "users", "users.refresh"] }), "users", "anything")).toEqual(["anything"]);
});

test("other channels are by pattern or open to all", () => {
  expect(
    hears(
      principal({ channels: ["chat", "orders.*"] }),
      "chat",
      "chatter",
      "orders.eu",
      "orders",
      "news",
      "public.x",
      "system",
    ),
  ).toEqual(["chat", "orders.eu", "news", "public.x"]);
});

test("rooms need the channel too, and one tenant's prefix is not another's", () => {
  const who = principal({ channels: ["chat"], rooms: ["trip:*", "tenant-1:*"] });

  expect(policy.mayJoin(who, "trips", "trip:1")).toBe(true);
  expect(policy.mayJoin(who, "chat", "trip:1")).toBe(true);
  expect(policy.mayJoin(who, "users", "trip:1")).toBe(false);
  expect(policy.mayJoin(who, "orders", "trip:1")).toBe(false);
  expect(policy.mayJoin(who, "chat", "tenant-10:a")).toBe(false);
  expect(policy.mayJoin(who, "chat", "tenant-1:a")).toBe(true);
});

test("publishing and operating are rights of their own", () => {
  const who = principal({ publish: ["chat", "refresh.trips"], channels: ["orders"] });

  expect(["chat", "orders", "trips"].map((channel) => policy.mayPublish(who, channel))).toEqual([true, false, true]);
  expect([policy.mayOperate(who), policy.mayOperate(principal({}, { roles: ["ops"] }))]).toEqual([false, true]);
  expect(
    tokenPolicy({ namespaces, namespaceRoles: new Map(), openChannels: [], operatorRole: undefined }).mayOperate(
      principal({}, { roles: ["ops"] }),
    ),
  ).toBe(false);
});

test("in history a user reads what one in every room it may join would have heard", () => {
  const who = principal({ rooms: ["trip:*"] }, { roles: ["driver"] });
  const reads = (to: object | undefined) =>
    mayRead(who, { id: "1-1", channel: "trips", timestampMs: 0, ...(to && { to }) }, policy);

  for (const to of [
    undefined,
    {},
    { users: ["42"] },
    { roles: ["driver"] },
    { rooms: ["trip:1"] },
    { rooms: ["user:42"] },
    { rooms: ["role:driver"] },
    { except: { users: ["1"] } },
    { except: { sockets: ["x"] } },
  ])
    expect([to, reads(to)]).toEqual([to, true]);
  for (const to of [
    { users: [] },
    { users: ["1"] },
    { roles: ["admin"] },
    { tenants: ["t"] },
    { rooms: ["user:1"] },
    { rooms: ["tenant:undefined"] },
    { rooms: ["order:1"] },
    { users: ["42"], except: { users: ["42"] } },
    { except: { rooms: ["user:42"] } },
    { except: { rooms: ["role:driver"] } },
    { except: { rooms: ["trip:9"] } },
  ])
    expect([to, reads(to)]).toEqual([to, false]);
});

test("callers of REST: keys by their rights, users by theirs, and neither by the other's", async () => {
  const users = { authenticate: async () => principal({ channels: ["chat"], publish: ["chat"] }) };
  const callers = new Callers({ keys: new ApiKeys("web:aaa,ops:bbb:operate"), users, policy });
  const by = async (secret: string) => {
    const caller = await callers.caller({ authorization: `Bearer ${secret}` });
    return (["publish", "refresh", "notify", "subscribe", "operate"] as const).filter((action) =>
      caller.may(action, "chat"),
    );
  };

  expect(await by("aaa")).toEqual(["publish", "refresh", "notify"]);
  expect(await by("bbb")).toEqual(["subscribe", "operate"]);
  expect(await by("a-users-token")).toEqual(["publish", "subscribe"]);
  await expect(callers.caller({})).rejects.toMatchObject({ code: "UNAUTHENTICATED" });
});

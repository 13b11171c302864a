import fc from "fast-check";
import { expect, test } from "vitest";
import { ApiKeys } from "../../src/auth/api-keys.ts";

const rightsOf = (keys: ApiKeys, secret: string) => {
  const key = keys.find(secret);
  return (["publish", "refresh", "notify", "operate"] as const).filter((action) => key?.may(action, "chat"));
};

test("a key without rights publishes, refreshes and notifies; others do what they say", () => {
  const keys = new ApiKeys(
    "web:aaa, ops:bbb:operate , chat:ccc:publish:chat+refresh:trips|users, all:ddd:publish+notify",
  );

  expect(rightsOf(keys, "aaa")).toEqual(["publish", "refresh", "notify"]);
  expect(rightsOf(keys, "bbb")).toEqual(["operate"]);
  expect(rightsOf(keys, "ccc")).toEqual(["publish"]);
  expect(rightsOf(keys, "ddd")).toEqual(["publish", "notify"]);
  const chat = keys.find("ccc");
  expect(["chat", "chatter", "trips"].map((channel) => chat?.may("publish", channel))).toEqual([true, false, false]);
  expect(["trips", "users", "chat"].map((channel) => chat?.may("refresh", channel))).toEqual([true, true, false]);
});

test("a pattern names a refresh namespace by any of its spellings", () => {
  const keys = new ApiKeys("a:aaa:refresh:trips.refresh+publish:refresh.users", new Set(["trips", "users"]));

  expect([keys.find("aaa")?.may("refresh", "trips"), keys.find("aaa")?.may("publish", "users")]).toEqual([true, true]);
});

test("two secrets of one name are both good: that is how one is rotated", () => {
  const keys = new ApiKeys("web:old,web:new");

  expect([keys.find("old")?.name, keys.find("new")?.name, keys.find("other")]).toEqual(["web", "web", undefined]);
});

test.each([
  ["a:aaa,b:aaa", /same secret/],
  ["a:aaa:publsh", /right/],
  ["a:aaa:operate:chat", /right/],
  ["a:aaa:publish++notify", /right/],
])("%s is refused without its secret in the message", (text, message) => {
  expect(() => new ApiKeys(text)).toThrow(message);
  try {
    new ApiKeys(text);
  } catch (error) {
    expect((error as Error).message).not.toContain("aaa");
  }
});

test("nothing but a whole secret finds a key, and the keys hold no secret", () => {
  const keys = new ApiKeys("a:LEAKME123");

  fc.assert(
    fc.property(
      fc.oneof(fc.string(), fc.constantFrom("", "LEAKME12", "LEAKME1234", "leakme123", "a:LEAKME123")),
      (text) => {
        expect(keys.find(text)).toBe(undefined);
      },
    ),
  );
  expect(JSON.stringify(keys) + JSON.stringify(keys.find("LEAKME123"))).not.toContain("LEAKME123");
});

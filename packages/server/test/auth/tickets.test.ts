import { MemoryTickets } from "@carillon/core";
import fc from "fast-check";
import { expect, test, vi } from "vitest";
import { openPrincipal } from "../../src/auth/open.ts";
import { Patterns } from "../../src/auth/patterns.ts";
import type { Principal } from "../../src/auth/principal.ts";
import { Tickets } from "../../src/auth/tickets.ts";

const patterns = new Patterns();
const principal: Principal = {
  user: "42",
  roles: ["driver"],
  tenant: "acme",
  sid: "s1",
  kind: "user",
  grants: patterns.grants({ channels: ["chat", "orders.*"], publish: ["chat"], rooms: ["trip:*"] }),
  expiresMs: Date.now() + 120_000,
  issuedMs: Date.now(),
};
const make = (more: object = {}) =>
  new Tickets({
    store: new MemoryTickets(),
    revocations: { loaded: true, isRevoked: () => false },
    patterns,
    open: false,
    ...more,
  });
const refused = (code: string) => expect.objectContaining({ code });
const chat = "stream:chat";

test("a ticket has its caller's rights, once, and all nodes know it", async () => {
  const store = new MemoryTickets();
  const { ticket, expiresMs } = await make({ store }).issue(principal);
  const other = make({ store });

  const redeemed = await other.redeem(ticket, "once");

  expect({ ...redeemed, grants: undefined }).toEqual({ ...principal, grants: undefined });
  expect(["chat", "orders.eu", "system"].map(redeemed.grants.channels)).toEqual([true, true, false]);
  expect([
    redeemed.grants.publish("chat"),
    redeemed.grants.publish("orders.eu"),
    redeemed.grants.rooms("trip:1"),
  ]).toEqual([true, false, true]);
  expect(expiresMs - Date.now()).toBeGreaterThan(28_000);
  await expect(other.redeem(ticket, "once")).rejects.toThrow(refused("UNAUTHENTICATED"));
  await expect(other.redeem(ticket, chat)).rejects.toThrow(refused("UNAUTHENTICATED"));
});

test("two that redeem one ticket at once: one of them is let in", async () => {
  const tickets = make();
  const { ticket } = await tickets.issue(principal);

  const outcomes = await Promise.allSettled([1, 2, 3].map(() => tickets.redeem(ticket, "once")));

  expect(outcomes.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
});

test("after 30 seconds it is worth nothing, and a stream's own ticket is good until the token ends", async () => {
  vi.useFakeTimers({ toFake: ["Date"] });
  try {
    const tickets = make();
    const [late, stream] = [await tickets.issue(principal), await tickets.issue(principal)];
    await tickets.redeem(stream.ticket, chat);

    vi.setSystemTime(Date.now() + 31_000);
    await expect(tickets.redeem(late.ticket, "once")).rejects.toThrow(refused("UNAUTHENTICATED"));
    await expect(tickets.redeem(stream.ticket, chat)).resolves.toMatchObject({ user: "42" });
    await expect(tickets.redeem(stream.ticket, "once")).rejects.toThrow(refused("UNAUTHENTICATED"));
    await expect(tickets.redeem(stream.ticket, "stream:trips")).rejects.toThrow(refused("UNAUTHENTICATED"));
    vi.setSystemTime(principal.expiresMs! + 31_000);
    await expect(tickets.redeem(stream.ticket, chat)).rejects.toThrow(refused("UNAUTHENTICATED"));
  } finally {
    vi.useRealTimers();
  }
});

test("what was revoked after it was issued is REVOKED, and a token that is over gets none", async () => {
  const store = new MemoryTickets();
  const { ticket } = await make({ store }).issue(principal);
  const isRevoked = ({ sid, issuedMs }: Principal) => sid === "s1" && issuedMs === principal.issuedMs;

  await expect(make({ store, revocations: { loaded: true, isRevoked } }).redeem(ticket, "once")).rejects.toThrow(
    refused("REVOKED"),
  );
  await expect(make().issue({ ...principal, expiresMs: Date.now() - 31_000 })).rejects.toThrow(
    refused("TOKEN_EXPIRED"),
  );
});

test("a token that never ends makes a ticket like any other", async () => {
  const tickets = make();
  const { ticket } = await tickets.issue({ ...principal, expiresMs: Number.MAX_VALUE });

  await expect(tickets.redeem(ticket, chat)).resolves.toMatchObject({ user: "42" });
  await expect(tickets.redeem(ticket, chat)).resolves.toMatchObject({ user: "42" });
});

test("tickets of AUTH=off are nobody's where authentication is on", async () => {
  const store = new MemoryTickets();
  const open = make({ store, open: true });
  const [one, two] = [await open.issue(openPrincipal("7")), await open.issue(openPrincipal(undefined))];

  await expect(open.redeem(one.ticket, "once")).resolves.toMatchObject({ user: "7", kind: "open" });
  await expect(make({ store }).redeem(two.ticket, "once")).rejects.toThrow(refused("UNAUTHENTICATED"));
});

test("the store never sees the ticket, and nothing else is one", async () => {
  const keys: string[] = [];
  const store = new MemoryTickets();
  const put = vi.spyOn(store, "put").mockImplementation(async (key, stored) => void keys.push(key, stored.text));
  const tickets = make({ store });
  const { ticket } = await tickets.issue(principal);
  put.mockRestore();

  expect(keys.join()).not.toContain(ticket);
  await fc.assert(
    fc.asyncProperty(
      fc.oneof(fc.string(), fc.jsonValue(), fc.constantFrom("__proto__", "constructor", ticket.slice(1), `${ticket}A`)),
      async (nonsense) => {
        await expect(tickets.redeem(nonsense, "once")).rejects.toThrow(refused("UNAUTHENTICATED"));
      },
    ),
    { numRuns: 100 },
  );
});

test("a stored ticket that was tampered with is none", async () => {
  const texts = fc.oneof(
    fc.json(),
    fc
      .record({
        kind: fc.constantFrom("user", "open", "key"),
        user: fc.jsonValue(),
        roles: fc.jsonValue(),
        lists: fc.jsonValue(),
        expiresMs: fc.jsonValue(),
        issuedMs: fc.jsonValue(),
      })
      .map((value) => JSON.stringify(value)),
  );
  await fc.assert(
    fc.asyncProperty(texts, async (text) => {
      const tickets = make({ store: { put: async () => {}, redeem: async () => text } });
      const outcome = await tickets.redeem("A".repeat(43), "once").catch((error: { code?: string }) => error.code);
      if (typeof outcome !== "string") expect(typeof outcome?.user).toBe("string");
      else expect(["UNAUTHENTICATED", "TOKEN_EXPIRED"]).toContain(outcome);
    }),
    { numRuns: 200 },
  );
});

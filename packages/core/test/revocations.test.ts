import { CarillonError } from "@carillon/protocol";
import { expect, onTestFinished, test, vi } from "vitest";
import { MemoryRevocations, noLogger, type Revocation, RevocationList, type Revocations } from "../src/index.ts";

const RETENTION_MS = 60_000;
const issued = (issuedMs: number, sid?: string) => ({ user: "42", sid, issuedMs });

function list(store: Revocations = new MemoryRevocations(RETENTION_MS), readEveryMs = 60_000) {
  const revocations = new RevocationList({ store, logger: noLogger, retentionMs: RETENTION_MS, readEveryMs });
  onTestFinished(() => revocations.stop());
  return revocations;
}

test("what was issued before is refused, what was issued since is not", async () => {
  const revocations = list();
  const now = Date.now();
  await revocations.revoke({ user: "42", beforeMs: now });

  expect([now - 1, now, now + 1, 0].map((at) => revocations.isRevoked(issued(at)))).toEqual([true, false, false, true]);
  expect(revocations.isRevoked({ user: "43", sid: undefined, issuedMs: 0 })).toBe(false);
  expect(revocations.isRevoked({ user: undefined, sid: undefined, issuedMs: 0 })).toBe(false);
});

test("one session's revocation leaves the others alone, the user's takes all", async () => {
  const revocations = list();
  const now = Date.now();
  await revocations.revoke({ user: "42", sid: "a", beforeMs: now });
  expect([issued(0, "a"), issued(0, "b"), issued(0)].map((one) => revocations.isRevoked(one))).toEqual([
    true,
    false,
    false,
  ]);

  await revocations.revoke({ user: "42", beforeMs: now });

  expect([issued(0, "a"), issued(0, "b"), issued(0)].map((one) => revocations.isRevoked(one))).toEqual([
    true,
    true,
    true,
  ]);
});

test("listeners hear of each once, by whatever way it came, and nothing moves back in time", async () => {
  const store = new MemoryRevocations(RETENTION_MS);
  const revocations = list(store);
  const heard: number[] = [];
  revocations.onRevoked(({ beforeMs }) => heard.push(beforeMs));
  const now = Date.now();

  await revocations.revoke({ user: "42", beforeMs: now });
  await revocations.read();
  await revocations.revoke({ user: "42", beforeMs: now - 10 });

  expect(heard).toEqual([now]);
  expect(revocations.isRevoked(issued(now - 1))).toBe(true);
});

test("a node that did not hear of one finds it when it reads, and is not ready before it read once", async () => {
  const store = new MemoryRevocations(RETENTION_MS);
  const deaf = list({ revoke: (one) => store.revoke(one), load: () => store.load(), onRevoked() {} }, 20);
  expect(deaf.loaded).toBe(false);
  deaf.start();
  await vi.waitFor(() => expect(deaf.loaded).toBe(true));

  await store.revoke({ user: "42", beforeMs: Date.now() });

  await vi.waitFor(() => expect(deaf.isRevoked(issued(0))).toBe(true));
});

test("one that is told while the store is being read stays in force", async () => {
  const store = new MemoryRevocations(RETENTION_MS);
  const { promise, resolve } = Promise.withResolvers<readonly Revocation[]>();
  const revocations = list(store);
  vi.spyOn(store, "load").mockImplementationOnce(() => promise);
  const reading = revocations.read();

  await revocations.revoke({ user: "42", beforeMs: Date.now() });
  resolve([]); // as it was before
  await reading;

  expect(revocations.isRevoked(issued(0))).toBe(true);
});

test("a store that lost its data is given it back, and what is older than any token is forgotten", async () => {
  const store = new MemoryRevocations(RETENTION_MS);
  const revocations = list(store);
  await revocations.revoke({ user: "42", beforeMs: Date.now() });
  await revocations.revoke({ user: "old", beforeMs: Date.now() - RETENTION_MS - 1 });
  const empty = new MemoryRevocations(RETENTION_MS);
  vi.spyOn(store, "load").mockImplementation(() => empty.load());
  vi.spyOn(store, "revoke").mockImplementation((one) => empty.revoke(one));

  await revocations.read();

  expect((await empty.load()).map(({ user }) => user)).toEqual(["42"]);
  expect(revocations.isRevoked({ user: "old", sid: undefined, issuedMs: 0 })).toBe(false);
});

test("while the store is away everything known stays in force, and a revocation that did not arrive is told", async () => {
  const store = new MemoryRevocations(RETENTION_MS);
  const revocations = list(store);
  await revocations.revoke({ user: "42", beforeMs: Date.now() });
  const away = () => Promise.reject(new CarillonError("BUS_UNAVAILABLE"));
  vi.spyOn(store, "load").mockImplementation(away);
  vi.spyOn(store, "revoke").mockImplementation(away);

  await revocations.read();

  expect(revocations.isRevoked(issued(0))).toBe(true);
  await expect(revocations.revoke({ user: "43", beforeMs: Date.now() })).rejects.toMatchObject({
    code: "BUS_UNAVAILABLE",
  });
});

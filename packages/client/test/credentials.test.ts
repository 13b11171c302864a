import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Credentials } from "../src/credentials.ts";
import type { TokenSource } from "../src/types.ts";

beforeEach(() => void vi.useFakeTimers({ now: 1_800_000_000_000 }));
afterEach(() => void vi.useRealTimers());

const now = () => Math.floor(Date.now() / 1000);
let made = 0;
const token = (claims: object) => `h.${Buffer.from(JSON.stringify({ n: made++, ...claims })).toString("base64url")}.s`;

function kit(source: TokenSource) {
  const renewed: string[] = [];
  const reports: unknown[] = [];
  const closing = new AbortController();
  const credentials = new Credentials({
    token: source,
    renew: async (fresh) => renewed.push(fresh),
    report: (error) => reports.push(error),
    signal: closing.signal,
  });
  return { credentials, renewed, reports, closing };
}

test("a token is asked for once for all who need it, and not again while it holds", async () => {
  const source = vi.fn(async () => token({ iat: now(), exp: now() + 600 }));
  const { credentials } = kit(source);

  const first = await Promise.all([credentials.get(), credentials.get()]);
  await vi.advanceTimersByTimeAsync(590_000);
  const second = await credentials.get();
  await vi.advanceTimersByTimeAsync(6000);
  const third = await credentials.get();

  expect(first[0]).toBe(first[1]);
  expect(second).toBe(first[0]);
  expect(third).not.toBe(first[0]);
  expect(source).toHaveBeenCalledTimes(2);
});

test.each([
  ["right", 0],
  ["an hour ahead", 3600],
  ["an hour behind", -3600],
])("a token is renewed in the last third of its life by a clock that is %s", async (_, skewS) => {
  const server = () => now() - skewS;
  const { credentials, renewed } = kit(async () => token({ iat: server(), exp: server() + 300 }));
  const first = await credentials.get();
  credentials.accept(first);

  await vi.advanceTimersByTimeAsync(200_000);
  const early = renewed.length;
  await vi.advanceTimersByTimeAsync(60_000);

  expect(early).toBe(0);
  expect(renewed).toHaveLength(1);
});

test("a source that gives the same token again, or fails, is asked a bounded number of times until the token ends", async () => {
  const one = token({ iat: now(), exp: now() + 3600 });
  let fails = false;
  const source = vi.fn(async () => {
    if (fails) throw new Error("away");
    return one;
  });
  const { credentials, renewed, reports } = kit(source);
  credentials.accept(await credentials.get());

  await vi.advanceTimersByTimeAsync(3_000_000);
  fails = true;
  await vi.advanceTimersByTimeAsync(4_000_000);

  expect(renewed).toEqual([]);
  expect(source.mock.calls.length).toBeLessThan(20);
  expect(reports.length).toBeGreaterThan(0);
});

test("tokens that end in years, or say nothing, are not renewed, and closing stops what was planned", async () => {
  const years = kit(async () => token({ iat: now(), exp: now() + 10 * 365 * 86_400 }));
  const opaque = kit(async () => "opaque");
  const closed = kit(async () => token({ iat: now(), exp: now() + 100 }));
  for (const { credentials } of [years, opaque, closed]) credentials.accept(await credentials.get());

  closed.closing.abort();
  await vi.advanceTimersByTimeAsync(86_400_000);

  expect([years, opaque, closed].map(({ renewed }) => renewed.length)).toEqual([0, 0, 0]);
});

test("one that held and is refused is replaced, a fresh one that is refused is final, for each namespace that asks", async () => {
  const { credentials } = kit(async () => token({}));
  const first = await credentials.get();
  credentials.accept(first);

  const verdicts = [credentials.reject(first, "UNAUTHENTICATED"), credentials.reject(first, "UNAUTHENTICATED")];
  const second = await credentials.get();
  verdicts.push(credentials.reject(second, "UNAUTHENTICATED"), credentials.reject(second, "UNAUTHENTICATED"));

  expect(verdicts).toEqual([true, true, false, false]);
});

import { afterEach, vi } from "vitest";

/** Closes after each test what the test made. */
export function closing<T extends { close?(): Promise<void> }>(make: () => Promise<T>): () => Promise<T> {
  const made: T[] = [];
  afterEach(async () => {
    await Promise.all(made.splice(0).map((subject) => subject.close?.()));
  });
  return async () => {
    const subject = await make();
    made.push(subject);
    return subject;
  };
}

/** Bounded; the condition throws while it isn't met. */
export function eventually(condition: () => void | Promise<void>, timeout = 10_000): Promise<void> {
  return vi.waitFor(condition, { timeout, interval: 10 });
}

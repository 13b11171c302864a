import { sharedRedis, waitFor } from "@carillon/testkit";
import { Redis } from "ioredis";
import { expect, test } from "vitest";
import { startLink } from "../chaos/stack/link.ts";

test("a dropped subscription goes away without the subscriber's knowledge", async () => {
  const redis = new Redis((await sharedRedis()).url);
  const link = await startLink(redis.options.port ?? 0);
  const subscriber = new Redis(link.port, "127.0.0.1");
  const heard: string[] = [];
  subscriber
    .on("message", (_channel, text) => heard.push(text))
    .on("pmessage", (_pattern, _channel, text) => heard.push(text));
  await subscriber.subscribe("link-test");
  await subscriber.psubscribe("link-test-*");
  expect(await redis.publish("link-test", "before")).toBe(1);
  await waitFor(() => heard.includes("before"), { what: "the first message" });

  expect(link.dropSubscriptions()).toBe(1);

  await waitFor(async () => (await redis.publish("link-test", "after")) === 0, { what: "Redis to have no subscriber" });
  expect(await redis.publish("link-test-1", "after")).toBe(0);
  await expect(subscriber.ping()).resolves.toBe("PONG"); // its own commands still get their own answers
  expect(subscriber.status).toBe("ready");

  await subscriber.subscribe("link-test");
  expect(await redis.publish("link-test", "again")).toBe(1);
  subscriber.disconnect();
  redis.disconnect();
  await link.close();
});

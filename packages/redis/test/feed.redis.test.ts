import type { FeedListener } from "@carillon/core";
import { type RedisServer, startProxy, startRedis, waitFor } from "@carillon/testkit";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { connectRedis, RedisFeed, type RedisFeedOptions } from "../src/index.ts";
import { startInjector } from "./injector.ts";

let redis: RedisServer;

beforeAll(async () => {
  redis = await startRedis();
});
afterAll(() => redis.stop());

/** Writes down everything in the order in which it came. */
async function makeFeed(url: string, options: RedisFeedOptions) {
  const connections = connectRedis({ url, prefix: "t" });
  const feed = new RedisFeed(connections, options);
  const heard: string[] = [];
  const listener: FeedListener = {
    message: (channel, text) => heard.push(`${channel} ${text}`),
    mark: ({ mark, done }) => heard.push(`mark ${mark} ${done}`),
    opened: (channel) => heard.push(`opened ${channel}`),
    closed: (channel) => heard.push(`closed ${channel}`),
    interrupted: () => heard.push("interrupted"),
  };
  feed.listen(listener);
  onTestFinished(() => {
    feed.stop();
    connections.close();
  });
  await waitFor(() => heard.length >= 1 + options.channels.length, { what: "the feed to open" });
  return { feed, heard, connections };
}

test("each message comes once, whatever names and patterns it fits, in order with the marks", async () => {
  const { feed, heard } = await makeFeed(redis.url, {
    channels: ["refresh.trips", "trip.x"],
    patterns: ["trip.*", "trip.[a-y]", "*", "trip.*"],
  });
  const client = redis.client();

  await feed.sendMark({ mark: 7, done: 3 });
  await client.publish("trip.x", "1");
  await client.publish("trip.b", "2 é");
  await client.publish("refresh.trips", "");
  await client.publish("t:echo:other", "not for us");
  await client.publish("t#/#", "not for us");
  await client.publish("other", "3");
  await client.publish("t:mark", "not a mark");
  await feed.sendMark({ mark: 8, done: 7 });

  await waitFor(() => heard.includes("mark 8 7"), { what: "the second mark" });
  client.disconnect();
  expect(heard).toEqual([
    ...["interrupted", "opened refresh.trips", "opened trip.x"],
    ...["mark 7 3", "trip.x 1", "trip.b 2 é", "refresh.trips ", "other 3", "mark 8 7"],
  ]);
});

test("two listeners hear the same in the same order", async () => {
  const options = { channels: ["a"], patterns: ["b.*"] };
  const [one, other] = [await makeFeed(redis.url, options), await makeFeed(redis.url, options)];
  const clients = [redis.client(), redis.client()];

  await Promise.all(
    clients.flatMap((client, who) =>
      Array.from({ length: 300 }, (_, i) => client.publish(i % 3 === 0 ? "a" : `b.${i % 2}`, `${who}:${i}`)),
    ),
  );
  await one.feed.sendMark({ mark: 1, done: 0 });

  for (const { heard } of [one, other]) await waitFor(() => heard.includes("mark 1 0"), { what: "the mark" });
  for (const client of clients) client.disconnect();
  expect(one.heard).toHaveLength(600 + 3);
  expect(other.heard).toEqual(one.heard);
});

test("a broken connection is told as an interruption, and it opens again", async () => {
  const { heard } = await makeFeed(redis.url, { channels: ["a"], patterns: [] });
  const client = redis.client();

  await client.call("CLIENT", "KILL", "TYPE", "pubsub");
  await waitFor(() => heard.filter((line) => line === "opened a").length === 2, { what: "the feed to open again" });
  await client.publish("a", "1");

  await waitFor(() => heard.includes("a 1"), { what: "the message" });
  client.disconnect();
  expect(heard).toEqual(["interrupted", "opened a", "interrupted", "interrupted", "opened a", "a 1"]);
});

test("a connection that goes nowhere, or hears no more, is told and made anew", async () => {
  const proxy = await startProxy(redis.port);
  const { heard, feed } = await makeFeed(`redis://127.0.0.1:${proxy.port}`, { channels: ["a"], patterns: ["b.*"] });

  proxy.blackhole();
  await expect(feed.sendMark({ mark: 1, done: 0 })).rejects.toMatchObject({ code: "BUS_UNAVAILABLE" });
  await waitFor(() => heard.at(-1) === "interrupted", { what: "the interruption to be noticed" });
  await proxy.restore();

  await waitFor(() => heard.at(-1) === "opened a", { what: "the feed to open again" });
  await proxy.close();
});

test("subscriptions dropped in silence are noticed, told, and made anew", async () => {
  const injector = await startInjector(redis.port);
  const { heard } = await makeFeed(`redis://127.0.0.1:${injector.port}`, { channels: ["a"], patterns: ["b.*"] });
  const client = redis.client();

  injector.say("UNSUBSCRIBE");
  await waitFor(() => heard.filter((line) => line === "opened a").length === 2, { what: "the feed to open again" });
  await client.publish("a", "1");

  await waitFor(() => heard.includes("a 1"), { what: "the message" });
  expect(heard).toEqual(["interrupted", "opened a", "interrupted", "interrupted", "opened a", "a 1"]);
  client.disconnect();
  injector.close();
});

/** As many custom channels as each node may have are listened on, whichever node it is that listens for all of them. */
import { type Client, connect, type NodeServer, queryAt, startPostgres, startRedis, waitFor } from "@carillon/testkit";
import { expect, onTestFinished, test } from "vitest";
import { openStage } from "./support/stage.ts";

const PER_NODE = 3;

async function subscribe(node: NodeServer | undefined, channels: readonly string[]): Promise<Client> {
  const client = connect(node?.url ?? "", "/channels", { transports: ["websocket"] });
  onTestFinished(() => client.close());
  await client.ready;
  for (const channel of channels) {
    expect(await client.socket.emitWithAck("subscribe", { channel })).toMatchObject({ ok: true });
  }
  return client;
}

test("a NOTIFY reaches every custom channel whose subscription was acked, and one channel too many is refused", async () => {
  const [redis, postgres] = await Promise.all([startRedis(), startPostgres()]);
  onTestFinished(async () => void (await Promise.all([redis.stop(), postgres.stop()])));
  const stage = await openStage({ nodes: 2, redis, postgres, env: { MAX_LISTEN_CHANNELS: String(PER_NODE) } });
  onTestFinished(() => stage.stop());
  const channels = [0, 1].map((node) => Array.from({ length: PER_NODE }, (_, i) => `custom.${node}.${i}`));
  const clients = await Promise.all(channels.map((own, node) => subscribe(stage.nodes[node], own)));

  for (const channel of channels.flat()) await queryAt(stage.databaseUrl, "select pg_notify($1, '1')", [channel]);

  for (const [node, client] of clients.entries()) {
    const heard = () =>
      client.events.filter(({ event }) => event === "notification").map(({ args }) => args[0].channel);
    await waitFor(() => heard().length === PER_NODE, { what: `all of ${channels[node]}; heard ${heard()}` });
    expect(await client.socket.emitWithAck("subscribe", { channel: "custom.more" })).toMatchObject({
      error: { code: "TOO_MANY_LISTEN_CHANNELS" },
    });
  }
});

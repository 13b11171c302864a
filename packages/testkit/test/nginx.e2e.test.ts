import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { balancer, startCluster } from "../src/cluster.ts";
import { api, startNginx, waitFor } from "../src/index.ts";

test("a client sticks to one node by parameter or cookie, `node` picks one, and the others are spread", async () => {
  const ports = await Promise.all(["0", "1", "2"].map(upstream));
  const nginx = await startNginx((port) => balancer(port, ports));
  onTestFinished(() => nginx.stop());
  const asked = async (path: string) => (await api(nginx.url).get(path)).text;
  const times = (count: number, path: string) => Promise.all(Array.from({ length: count }, () => asked(path)));

  expect(new Set(await times(20, "/?client=a")).size).toBe(1);
  expect(await Promise.all([asked("/?node=0"), asked("/?node=1"), asked("/?node=2")])).toEqual(["0", "1", "2"]);
  expect(new Set(await times(60, "/")).size).toBe(3);

  const first = await api(nginx.url).get("/");
  const cookie = first.headers.get("set-cookie")?.split(";")[0] ?? "";
  const later = await Promise.all(Array.from({ length: 20 }, () => api(nginx.url).get("/", { cookie })));
  expect(new Set(later.map(({ text }) => text))).toEqual(new Set([first.text]));
});

test("a polling session without cookies stays at the node that its id names, and begins elsewhere once that is gone", async () => {
  const cluster = await startCluster({ nodes: 2, env: { STICKY_ROUTE: "auto" } });
  onTestFinished(() => cluster.stop());
  const polling = "/socket.io/?EIO=4&transport=polling";
  const open = async () => JSON.parse((await api(cluster.url).get(polling)).text.slice(1)).sid as string;

  const sids = await Promise.all(Array.from({ length: 8 }, open));
  const join = (sid: string) =>
    fetch(`${cluster.url}${polling}&sid=${sid}`, { method: "POST", body: "40/trips,{}" }).then(({ status }) => status);
  expect(await Promise.all(sids.map(join))).toEqual(sids.map(() => 200));
  expect(await Promise.all(sids.map(join))).toEqual(sids.map(() => 200));
  expect(new Set(sids.map((sid) => sid.split(".")[0])).size).toBe(2);
  await cluster.nodes[0]?.kill();
  expect(new Set(await Promise.all(sids.map(join)))).toEqual(new Set([200, 502]));
  await open();
});

test("nginx takes a new configuration without a restart", async () => {
  const config = (text: string) => (port: number) =>
    `server { listen 127.0.0.1:${port}; location / { return 200 ${text}; } }`;
  const nginx = await startNginx(config("old"));
  onTestFinished(() => nginx.stop());
  const pid = nginx.pid;

  await nginx.reload(config("new")(nginx.port));

  await waitFor(async () => (await api(nginx.url).get("/")).text === "new", { what: "the new configuration" });
  expect(nginx.pid).toBe(pid);
});

async function upstream(name: string): Promise<number> {
  const server = createServer((_, response) => response.end(name));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => void server.close());
  return (server.address() as AddressInfo).port;
}

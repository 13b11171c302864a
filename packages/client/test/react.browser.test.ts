/** An application with the SDK, its hooks and TanStack Query in a real Chromium, on nodes that die. */
import { type Cluster, connectSql, startCluster, waitFor } from "@carillon/testkit";
import { type Browser, chromium, type Page } from "playwright-core";
import { afterAll, beforeAll, beforeEach, expect, onTestFinished, test } from "vitest";
import { message, refresh } from "./kit.ts";
import { type Site, startSite } from "./page/site.ts";

const FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"];

let cluster: Cluster;
let sql: Awaited<ReturnType<typeof connectSql>>;
let browser: Browser;
let site: Site;

beforeAll(async () => {
  cluster = await startCluster({ nodes: 2, postgres: true, env: { COALESCE_MS: "0", CORS_ORIGINS: "*" } });
  sql = await connectSql(cluster.postgres!.url);
  await sql.query("create table trips (id serial primary key, name text)");
  await sql.query("select carillon.watch('trips', 'trips')");
  const trips = async () => (await sql.query("select id, name from trips order by id")).rows;
  site = await startSite(() => cluster.url, trips);
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: FLAGS });
});
afterAll(async () => {
  await browser?.close();
  await site?.close();
  await sql?.end();
  await cluster?.stop();
});

/** Closed when the test is over, passed or not: its connections would count in the next one. */
async function openPage(): Promise<Page> {
  const page = await browser.newPage();
  onTestFinished(() => page.close());
  await page.goto(site.url);
  await untilText(page, "status", "connected");
  return page;
}

const text = (page: Page, id: string) => page.locator(`#${id}`).textContent();

function untilText(page: Page, id: string, wanted: string): Promise<unknown> {
  return waitFor(async () => (await text(page, id)) === wanted, { what: `#${id} to say ${wanted}`, timeoutMs: 60_000 });
}

// A run that failed half-way leaves a node down and rows behind.
beforeEach(async () => {
  for (const node of cluster.nodes) if (!node.running) await node.start();
  await sql.query("truncate trips");
});

test("a row changes in Postgres and the list on screen follows; offline and back on another node, it is right after one refetch", async () => {
  const page = await openPage();
  const complaints: string[] = [];
  page.on("pageerror", (error) => complaints.push(String(error)));
  await sql.query("insert into trips (name) values ('first')");
  await untilText(page, "trips", "first");
  await sql.query("update trips set name = 'renamed'");
  await untilText(page, "trips", "renamed");
  const before = await text(page, "node");
  const mine = cluster.nodes.find(({ logs }) => logs.some(({ node }) => node === before))!;
  const other = cluster.nodes.find((node) => node !== mine)!;

  await page.context().setOffline(true);
  await mine.kill();
  await untilText(page, "status", "offline");
  const fetches = site.fetches;
  const published = await other.metric("carillon_outbox_published_total");
  for (const name of ["second", "third"]) {
    await sql.query("insert into trips (name) values ($1)", [name]);
    await refresh(other.url, "trips", "TRIP_ADDED");
  }
  // Where the dead node read the outbox, the other takes over in a moment. What it published later would be news, not missed.
  const untilPublished = async () => (await other.metric("carillon_outbox_published_total")) - published >= 2;
  await waitFor(untilPublished, { what: "both rows to be published" });

  await page.context().setOffline(false);
  await untilText(page, "trips", "renamedsecondthird");
  await untilText(page, "status", "connected");
  const after = await text(page, "node");
  await message(other.url, "chat", { text: "settled" });
  await waitFor(async () => (await text(page, "events"))?.includes("settled"), { what: "what comes last" });

  expect(after).not.toBe(before);
  expect(site.fetches - fetches).toBe(1);
  expect(complaints).toEqual([]);
});

test("hooks hear what is for them once under StrictMode, and let go when their component leaves", async () => {
  const page = await openPage();
  const shown = async () => (await text(page, "events"))?.split(" ") ?? [];
  // Connected, it may still be about to enter the namespace, the room and the channel.
  await waitFor(
    async () => {
      await refresh(cluster.url, "users", "USER_READY", { to: { rooms: ["team:7"] } });
      await message(cluster.url, "chat", { text: "ready" });
      const events = await shown();
      return events.includes("USER_READY") && events.includes("ready");
    },
    { what: "the hooks to hear", everyMs: 200 },
  );

  await refresh(cluster.url, "users", "USER_ADDED");
  await refresh(cluster.url, "users", "TEAM_CHANGED");
  await message(cluster.url, "chat", { text: "hello" });
  await refresh(cluster.url, "users", "USER_ROOM", { to: { rooms: ["team:7"] } });
  const heard = async () => (await shown()).filter((event) => !["USER_READY", "ready"].includes(event));
  await waitFor(async () => (await heard()).length === 3, { what: "three events" });
  const all = (await heard()).sort();
  await page.getByRole("button").click();
  const usersOf = () =>
    Promise.all(cluster.nodes.map((node) => node.metric("carillon_connections", { namespace: "/users" })));
  await waitFor(async () => (await usersOf()).every((count) => count === 0), { what: "the namespace to be left" });

  expect(all).toEqual(["USER_ADDED", "USER_ROOM", "hello"]);
});

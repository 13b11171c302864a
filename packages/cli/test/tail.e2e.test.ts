import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { type Cluster, startCluster, waitFor } from "@carillon/testkit";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { carillon, type Ran } from "./support.ts";

const bin = fileURLToPath(new URL("../bin/carillon.mjs", import.meta.url));
const JWT_SECRET = "a secret of more than thirty-two characters";
const API_KEYS = "app:the-secret,ops:the-operators:operate";

let cluster: Cluster;
let env: Record<string, string>;

beforeAll(async () => {
  cluster = await startCluster({ nodes: 2, env: { AUTH: "on", API_KEYS, JWT_SECRET } });
  const { out } = await carillon(["token", "--sub", "42", "--channels", "a*", "--rooms", "trip:*"], {
    env: { JWT_SECRET },
  });
  env = { CARILLON_URL: cluster.url, CARILLON_KEY: "the-secret", CARILLON_TOKEN: out.trim() };
});

afterAll(() => cluster?.stop());

test("it prints what comes on its channels, and ends at its limit", async () => {
  const tail = await tailing(["a1", "trips", "--limit", "3", "--rooms", "trip:7"]);

  const ids = [
    await publish("a1", '{"id":7,"text":"\\u001b[2J"}'),
    await publish("a1", '"for a room"', "--to-rooms", "trip:7"),
    (await carillon(["refresh", "trips", "APPROVED"], { env })).out.split(" ")[0],
  ];
  const { code, out, err } = await tail.ended;

  expect(code).toBe(0);
  const time = "\\d\\d:\\d\\d:\\d\\d\\.\\d{3}";
  expect(out.split("\n")).toEqual([
    expect.stringMatching(new RegExp(`^${time}  a1  {"id":7,"text":"\\\\u001b\\[2J"}  ${ids[0]}$`)),
    expect.stringMatching(new RegExp(`^${time}  a1  "for a room"  ${ids[1]}$`)),
    expect.stringMatching(new RegExp(`^${time}  trips  APPROVED  ${ids[2]}$`)),
    "",
  ]);
  expect(err).toMatch(/^listening at node \S+$/m);
  expect(err).toContain(`go on from here by --since ${ids[2]}`);
});

test("it goes on where it was when its node is killed, with nothing missing and nothing twice", async () => {
  const tail = await tailing(["a2", "--json"]);
  const published: number[] = [];
  const send = async () => {
    published.push(published.length);
    await publish("a2", String(published.length - 1));
  };

  await send();
  await waitFor(() => tail.out().includes('"payload":0'), { what: "the first message" });
  const [, name] = /listening at node (\S+)/.exec(tail.err()) ?? [];
  const home = cluster.nodes.find(({ logs }) => logs.some(({ node }) => node === name));
  await home!.kill();
  onTestFinished(() => home!.start());
  for (let count = 0; count < 5; count += 1) await send();
  await waitFor(() => tail.out().includes('"payload":5'), { what: "the last message", timeoutMs: 30_000 });
  tail.stop();
  const { code, out, err } = await tail.ended;

  const heard = out.split("\n").filter((line) => line !== "");
  expect(heard.map((line) => JSON.parse(line))).toEqual(
    published.map((payload) => ({
      type: "notification",
      channel: "a2",
      id: expect.any(String),
      timestamp: expect.any(String),
      payload,
    })),
  );
  expect(code).toBe(0);
  expect(err).toContain("the connection is lost; coming back");
  expect(err).toContain("back, listening at node ");
});

test("from --since on it prints what was missed, and a gap where that is out of reach", async () => {
  const first = await publish("a3", "1");
  await publish("a3", "2");

  const whole = await carillon(["tail", "a3", "--since", first, "--limit", "1", "--json"], { env });
  const unknown = await tailing(["a3", "--since", "1000000000000-1", "--json"], /"gap"/);
  unknown.stop();

  expect(JSON.parse(whole.out)).toMatchObject({ channel: "a3", payload: 2 });
  expect(JSON.parse((await unknown.ended).out)).toEqual({ type: "gap", channel: "a3", id: expect.any(String) });
});

test.each([
  [{}, ["b1"], "FORBIDDEN", 'claim "channels"'],
  [{ CARILLON_TOKEN: "" }, ["a1"], "UNAUTHENTICATED", "set CARILLON_TOKEN"],
])("what it may not hear ends it with the reason: %j %j", async (other, channels, told, fix) => {
  const { code, out, err } = await carillon(["tail", ...channels], { env: { ...env, ...other } });

  expect({ code, out }).toEqual({ code: 1, out: "" });
  expect(err).toContain(told);
  expect(err).toContain(fix);
});

test.each([
  ["SIGINT", (child: ReturnType<typeof spawn>) => child.kill("SIGINT")],
  ["its reader's end", (child: ReturnType<typeof spawn>) => child.stdout?.destroy()],
])("%s ends it, with exit code 0 and no complaint", async (_, end) => {
  const child = spawn(process.execPath, [bin, "tail", "a4"], { env: { PATH: process.env.PATH, ...env } });
  onTestFinished(() => void child.kill("SIGKILL"));
  const exited = once(child, "exit");
  let err = "";
  child.stderr.on("data", (chunk) => {
    err += chunk;
  });
  await waitFor(() => err.includes("listening"), { what: "it to listen", timeoutMs: 30_000 });

  end(child);
  await publish("a4", "1");
  await publish("a4", "2");
  const [code] = await exited;

  expect(code).toBe(0);
  expect(err).not.toMatch(/error|EPIPE/i);
});

test("nodes and channels show the cluster to operators", async () => {
  const tail = await tailing(["a5"]);
  const operator = { ...env, CARILLON_KEY: "the-operators" };
  const listed = async (name: string) => (await carillon([name], { env: operator })).out;

  await waitFor(async () => /^a5 +1 /m.test(await listed("channels")), {
    what: "the channel to be counted",
    timeoutMs: 30_000,
  });
  await waitFor(async () => (await listed("nodes")).split("\n").length === 4, {
    what: "both nodes",
    timeoutMs: 30_000,
  });
  const { nodes } = JSON.parse((await carillon(["nodes", "--json"], { env: operator })).out);
  const refused = await carillon(["nodes"], { env });
  tail.stop();
  await tail.ended;

  expect(nodes.map(({ state }: { state: string }) => state)).toEqual(["ready", "ready"]);
  expect(await listed("nodes")).toMatch(/^NAME +HOST .*\n.* ready .* MiB /);
  expect(refused).toMatchObject({ code: 1, out: "", err: expect.stringContaining("operate") });
});

async function publish(channel: string, payload: string, ...args: string[]): Promise<string> {
  const { code, out, err } = await carillon(["publish", channel, payload, ...args], { env });
  expect(code, err).toBe(0);
  return out.split(" ")[0] ?? "";
}

interface Tailing {
  readonly ended: Promise<Ran>;
  out(): string;
  err(): string;
  stop(): void;
}

/** Once it listens: what is published from then on, it hears. */
async function tailing(args: string[], until?: RegExp): Promise<Tailing> {
  const over = new AbortController();
  onTestFinished(() => over.abort());
  let printed = "";
  const onOut = (text: string) => {
    printed = text;
  };
  let heard = "";
  const onErr = (text: string) => {
    heard = text;
  };
  const ended = carillon(["tail", ...args], { env, signal: over.signal, onOut, onErr });
  await waitFor(() => (until ?? /listening at node/).test(until === undefined ? heard : printed), {
    what: `tail ${args.join(" ")} to listen`,
    timeoutMs: 30_000,
  });
  return { ended, out: () => printed, err: () => heard, stop: () => over.abort() };
}

/** Notifications to devices in every state while nodes, Redis, Postgres and FCM fail: each is seen on screen or pushed, and once. */
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { api, type Cluster, type FcmServer, queryAt, startCluster, startFcm, waitFor } from "@carillon/testkit";
import { Random } from "../chaos/random.ts";
import { FAULTS } from "./faults.ts";
import { type AttemptRow, type Entry, judge, type Verdict } from "./judge.ts";
import { insist, KINDS, type Kind, Phone } from "./phones.ts";

export interface ChaosOptions {
  readonly users: number;
  readonly devices: number;
  readonly notifications: number;
  readonly perSecond: number;
  /** Every so often something breaks. */
  readonly faultEveryMs: number;
  /** How many times; then publishing goes on until all of them are over. Default: as often as there is time for. */
  readonly faults?: number;
  readonly seed: number;
  readonly say: (line: string) => void;
}

export interface ChaosResult extends Verdict {
  readonly notifications: number;
  readonly struck: readonly string[];
  readonly seconds: number;
}

const NODES = 3;
const MAX_UNDER_WAY = 30;
/** A dead node's jobs come back after 20 s, and what FCM had no answer for is tried again with growing waits. */
const SETTLE_TIMEOUT_MS = 180_000;

export async function pushChaos(options: ChaosOptions): Promise<ChaosResult> {
  const startedAt = performance.now();
  const random = new Random(options.seed);
  const fcm = await startFcm();
  // So that some are under way whenever something breaks.
  fcm.byDefault = { afterMs: 30, answer: "ok" };
  const cluster = await startCluster({
    nodes: NODES,
    postgres: true,
    env: { ...fcm.env, PUSH_DEAD_MAX_PERCENT: "60" },
  });
  const phones = someDevices(cluster.url, options, random);
  try {
    for (const phone of phones) {
      await phone.register(userOf(random, options));
      if (phone.kind === "dead") fcm.script(phone.token, "unregistered");
      if (phone.kind === "logged-out") await phone.logOut();
    }
    await Promise.all(phones.map((phone) => phone.wake()));
    options.say(`${phones.length} devices of ${options.users} users on ${NODES} nodes`);

    const struck: string[] = [];
    const over = new AbortController();
    let whole = options.faults === undefined;
    const breaking = strike(options, { cluster, fcm, random }, struck, over.signal).finally(() => {
      whole = true;
    });
    const accepted = await notify(options, cluster, random, phones, () => whole);
    over.abort();
    await breaking;
    options.say(`${accepted.size} notifications accepted; waiting for the last push`);
    await settled(cluster);
    const url = cluster.postgres?.url ?? "";
    const entries = await queryAt<Entry & Record<string, unknown>>(
      url,
      "select event_id, user_id, (extract(epoch from created_at) * 1000)::float8 as created_ms from carillon.inbox_entry",
    );
    const attempts = await queryAt<AttemptRow & Record<string, unknown>>(
      url,
      "select * from carillon.push_attempt order by id",
    );
    const verdict = judge({ accepted, entries, attempts, requests: fcm.requests, phones });
    const seconds = (performance.now() - startedAt) / 1000;
    return { ...verdict, notifications: accepted.size, struck, seconds };
  } finally {
    for (const phone of phones) phone.close();
    await cluster.stop();
    await fcm.stop();
  }
}

/** Of every kind the same number, as far as that goes. */
function someDevices(url: string, { devices }: ChaosOptions, random: Random): Phone[] {
  const kinds = Array.from({ length: devices }, (_, i) => KINDS[i % KINDS.length] as Kind);
  return random.some(kinds, devices).map((kind, i) => new Phone(url, `d${i}`, kind));
}

function userOf(random: Random, { users }: ChaosOptions): string {
  return `user-${random.below(users)}`;
}

async function strike(
  { faultEveryMs, faults = Number.POSITIVE_INFINITY, say }: ChaosOptions,
  world: { cluster: Cluster; fcm: FcmServer; random: Random },
  struck: string[],
  over: AbortSignal,
): Promise<void> {
  for (let i = 0; !over.aborted && i < faults; i++) {
    await sleep(faultEveryMs, undefined, { signal: over }).catch(() => {});
    const fault = FAULTS[i % FAULTS.length];
    if (over.aborted || fault === undefined) return;
    say(fault.name);
    struck.push(fault.name);
    await fault.strike(world);
  }
}

/** Resolves with the events that were accepted, once all are. A device changes hands now and then. */
async function notify(
  options: ChaosOptions,
  cluster: Cluster,
  random: Random,
  phones: readonly Phone[],
  mayEnd: () => boolean,
): Promise<Set<string>> {
  const accepted = new Set<string>();
  const underWay = new Set<Promise<void>>();
  const offline = phones.filter(({ kind }) => kind === "offline");
  const moves = Math.max(2, Math.floor(options.notifications / 100));
  for (let i = 0; i < options.notifications || !mayEnd(); i++) {
    const userIds = [...new Set(Array.from({ length: 1 + random.below(3) }, () => userOf(random, options)))];
    const one = (random.below(5) === 0 ? bySql(cluster, userIds) : byRest(cluster, userIds)).then((eventId) => {
      if (eventId !== undefined) accepted.add(eventId);
    });
    track(underWay, one);
    if (i % Math.ceil(options.notifications / moves) === 1 && offline.length > 0) {
      track(underWay, random.pick(offline).register(userOf(random, options)));
    }
    await sleep(1000 / options.perSecond);
    while (underWay.size >= MAX_UNDER_WAY) await Promise.race(underWay);
  }
  await Promise.all(underWay);
  return accepted;
}

function track(set: Set<Promise<void>>, promise: Promise<void>): void {
  const tracked = promise.finally(() => set.delete(tracked));
  set.add(tracked);
}

async function byRest({ url }: Cluster, userIds: readonly string[]): Promise<string> {
  const key = randomUUID();
  const body = { userIds, type: "TRIP_APPROVED", title: "Trip Approved", body: "Yes", data: { tripId: 42 } };
  const answer = await insist("a notification to be accepted", () =>
    api(url).post("/api/notify", body, { "idempotency-key": key }),
  );
  return answer.body.eventId;
}

/** Undefined where it is not known whether it was committed; then it counts if it is there. */
async function bySql({ postgres }: Cluster, userIds: readonly string[]): Promise<string | undefined> {
  const sql = "select carillon.notify($1::text[], 'SYSTEM_ALERT', 'Hello', 'You') as id";
  try {
    const [row] = await queryAt<{ id: string }>(postgres?.url ?? "", sql, [userIds]);
    return row?.id;
  } catch {
    return undefined;
  }
}

async function settled({ postgres }: Cluster): Promise<void> {
  const left = `select (select count(*) from carillon.inbox_entry where push_due_at is not null)
    + (select count(*) from carillon_boss.job where name = 'push' and state in ('created', 'retry', 'active')) as n`;
  await waitFor(async () => Number((await queryAt<{ n: string }>(postgres?.url ?? "", left))[0]?.n) === 0, {
    what: "the last push to be settled",
    timeoutMs: SETTLE_TIMEOUT_MS,
    everyMs: 500,
  });
}

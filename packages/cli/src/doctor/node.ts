import { readJson } from "@carillon/protocol";
import { reasonOf } from "../failure.ts";
import { DOCS, type Finding, ok, problem, skipped, warning } from "./finding.ts";
import { type HttpAnswer, http } from "./http.ts";

interface Check {
  readonly status: "ok" | "degraded" | "down";
  readonly reason?: string;
}

const ABSENT = "node";
/** Tokens hold for half a minute beyond their time. */
const CLOCK_LEEWAY_S = 15;

/** What a node says of itself: whether it lives, and whether it should get traffic. */
export async function checkNode(url: URL): Promise<readonly Finding[]> {
  let alive: HttpAnswer;
  let readiness: HttpAnswer;
  try {
    [alive, readiness] = await Promise.all([http(new URL("/healthz", url)), http(new URL("/readyz", url))]);
  } catch (error) {
    return [
      problem(ABSENT, `nothing answers at ${url.origin}: ${reasonOf(error)}`, {
        fix: "start a node there (npm start, carillon serve), or correct --url",
        docs: DOCS.cli,
      }),
    ];
  }
  if (alive.status !== 200) {
    return [
      problem(ABSENT, `${url.origin} answers /healthz with ${alive.status}`, {
        fix: "check the URL: it names something else than a node, or a balancer without one",
        docs: DOCS.nginx,
      }),
    ];
  }
  return [...ready(url, readiness), ...clock(url, alive)];
}

/** Whether a finding says that there is no node at all. */
export function isAbsent({ check, status }: Finding): boolean {
  return check === ABSENT && status === "problem";
}

function ready(url: URL, { status, text }: HttpAnswer): Finding[] {
  const check = "node.ready";
  const body = readJson(text) as { readonly checks?: Readonly<Record<string, Check>> } | undefined;
  if (body?.checks === undefined) {
    if (status === 404) {
      const what = `${url.origin} keeps /readyz to itself, as a balancer should`;
      return [skipped(check, what, "name a node behind it by --node http://…")];
    }
    return [
      problem(check, `${url.origin} answers /readyz with ${status}`, {
        fix: "name a node directly by --node, and look at its log",
        docs: DOCS.notReady,
      }),
    ];
  }
  const findings = Object.entries(body.checks)
    .filter(([, one]) => one.status !== "ok")
    .map(([name, one]) => unwell(url, name, one));
  return findings.length > 0 ? findings : [ok(check, `the node at ${url.origin} is ready`)];
}

function unwell(url: URL, name: string, { status, reason }: Check): Finding {
  const check = `node.ready.${name}`;
  const what = `the node at ${url.origin} is ${status === "down" ? "not ready" : "degraded"}: ${name}: ${reason ?? status}`;
  if (status === "degraded") return warning(check, what, { fix: fixOf(name, reason), docs: DOCS.notReady });
  return problem(check, what, { fix: fixOf(name, reason), docs: name === "bus" ? DOCS.busDeaf : DOCS.notReady });
}

function fixOf(name: string, reason: string | undefined): string {
  if (name === "bus") return "see what is said of Redis; the node heals by itself once it hears";
  if (name === "postgres") return "see what is said of Postgres; the node heals by itself";
  if (reason === "draining") return "it was told to stop: send it no traffic, and start another in its place";
  if (reason === "starting") return "wait until it has reached Redis and caught up; its log says what it waits for";
  return "look at the node's log";
}

function clock(url: URL, { headers }: HttpAnswer): Finding[] {
  const theirs = Date.parse(headers.date ?? "");
  const offS = Math.round(Math.abs(theirs - Date.now()) / 1000);
  if (!(offS > CLOCK_LEEWAY_S)) return [];
  return [
    warning(
      "node.clock",
      `the clock at ${url.origin} and this one differ by ${offS} s: tokens end, or begin, at the wrong time`,
      {
        fix: "synchronise both by NTP",
        docs: DOCS.security,
      },
    ),
  ];
}

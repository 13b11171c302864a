/** Many listeners on each virtual user, which is a whole JavaScript engine of its own and costs megabytes. */
import exec from "k6/execution";
import { CHANNEL, CLIENTS, SECONDS, TOKEN, URL } from "./environment.ts";
import { Listener } from "./listener.ts";

const PER_VU = 50;
/** Connections are opened within this time. */
export const RAMP_S = Math.max(Math.min(SECONDS / 4, CLIENTS / 200), 2);
/** After the last publication: whatever is late has this long. */
const TAIL_S = 5;

export interface CrowdOptions {
  /** Within which its members connect; default `RAMP_S`. */
  readonly rampS?: number;
  /** When every member loses its transport once, in seconds from the beginning. */
  readonly dropAtS?: number;
  /** Members come and go: how long each stays. */
  readonly stayS?: number;
}

/** A k6 scenario whose `exec` is `function_`, which calls `crowd`. */
export function crowdScenario(function_ = "listen", clients = CLIENTS) {
  const vus = Math.ceil(clients / PER_VU);
  return {
    executor: "per-vu-iterations",
    vus,
    iterations: 1,
    maxDuration: `${Math.ceil(RAMP_S + SECONDS + TAIL_S + 30)}s`,
    exec: function_,
  } as const;
}

/** A k6 scenario that publishes `rate` times a second once everybody is there, `function_` each time. */
export function publisherScenario(rate: number, function_ = "speak") {
  return {
    executor: "constant-arrival-rate",
    rate,
    timeUnit: "1s",
    duration: `${SECONDS}s`,
    startTime: `${Math.ceil(RAMP_S + 1)}s`,
    preAllocatedVUs: Math.min(Math.max(Math.ceil(rate / 10), 2), 50),
    exec: function_,
  } as const;
}

/** Opens this virtual user's share of `clients`, lets them listen to the end, and closes them. */
export function crowd(options: CrowdOptions = {}, clients = CLIENTS): void {
  const { rampS = RAMP_S, dropAtS, stayS } = options;
  const first = exec.scenario.iterationInTest * PER_VU;
  const count = Math.min(PER_VU, clients - first);
  const endsAtMs = (RAMP_S + 1 + SECONDS + TAIL_S) * 1000;
  for (let i = 0; i < count; i++) {
    const opensAtMs = ((first + i) / clients) * rampS * 1000;
    let listener: Listener | undefined;
    const open = () => {
      listener = new Listener({ url: URL, channel: CHANNEL, token: TOKEN });
    };
    setTimeout(open, opensAtMs);
    if (dropAtS !== undefined) setTimeout(() => listener?.drop(), dropAtS * 1000);
    if (stayS !== undefined) {
      for (let atMs = opensAtMs + stayS * 1000; atMs < endsAtMs - stayS * 500; atMs += stayS * 1000)
        setTimeout(() => {
          listener?.stop();
          open();
        }, atMs);
    }
    setTimeout(() => listener?.stop(), endsAtMs);
  }
}

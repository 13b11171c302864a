/** The end of a run: the last publications are sent until every client has heard some, so that all that came before is judged fairly. */
import { setTimeout as sleep } from "node:timers/promises";
import type { Drivers } from "./driver/drivers.ts";
import type { RestIngress } from "./load/rest.ts";

const markEveryMs = 750;
const giveUpMs = 45_000;
/** What comes by way of Postgres is under way longer than a marker by REST. */
const quietMs = 1_500;
const quietWithinMs = 15_000;

/** Resolves with clients that heard none within 45 s. */
export async function settle(drivers: Drivers, rest: RestIngress): Promise<readonly string[]> {
  const channels = [...new Set(drivers.specs.flatMap((spec) => spec.channels))];
  const deadline = performance.now() + giveUpMs;
  const total = drivers.specs.length;
  drivers.tell({ command: "mark" });
  // Their next report; until then they are done by what they heard before.
  await sleep(markEveryMs);
  for (let number = 0; drivers.progress.done < total && performance.now() < deadline; number++) {
    await Promise.all(channels.map((channel) => rest.marker(number, channel)));
    await sleep(markEveryMs);
  }
  await quiet(drivers);
  return drivers.progress.done < total ? drivers.progress.waiting : [];
}

async function quiet(drivers: Drivers): Promise<void> {
  const deadline = performance.now() + quietWithinMs;
  let heard = -1;
  for (
    let since = performance.now();
    performance.now() - since < quietMs && performance.now() < deadline;
    await sleep(100)
  ) {
    if (drivers.progress.heard === heard) continue;
    heard = drivers.progress.heard;
    since = performance.now();
  }
}

/** Preloaded into a subject: tells on SIGUSR2 for how long its event loop was not free at most since the last time. */
import { monitorEventLoopDelay } from "node:perf_hooks";

const delay = monitorEventLoopDelay({ resolution: 1 });
delay.enable();
process.on("SIGUSR2", () => {
  console.log(`stall ${(delay.max / 1e6).toFixed(1)} ms`);
  delay.reset();
});

/** A node's process, from its settings to its exit code. */
import { randomBytes } from "node:crypto";
import { type App, startApp } from "./app.ts";
import { createLogger } from "./ops/logger.ts";
import { loadSettings, SettingsError } from "./settings/load.ts";

/** Resolves once the node listens. From here on signals, failures and the end of this process are the node's affair. */
export async function runNode(env: Readonly<Record<string, string | undefined>>): Promise<void> {
  /** Opaque, and new at each start: what a dead process left behind is never taken for ours. */
  const node = randomBytes(6).toString("base64url");
  let logger = createLogger({ level: "info", node });
  process.on("uncaughtException", (error) => {
    logger.error({ err: error }, "uncaught exception");
    process.exit(1);
  });
  process.on("unhandledRejection", (error) => {
    logger.error({ err: error }, "unhandled rejection");
    process.exit(1);
  });

  const starting = Promise.withResolvers<App>();
  // Before anything else: as the first process of a container, a signal without a handler is ignored.
  drainOnSignals(starting.promise, () => logger);

  try {
    const settings = loadSettings(env);
    logger = createLogger({ level: settings.logLevel, node });
    for (const warning of settings.warnings) logger.warn({}, warning);
    const app = await startApp(settings, node, logger);
    starting.resolve(app);
    logger.info(
      { port: app.port, ...(app.wsPort !== undefined && { wsPort: app.wsPort }), host: settings.host },
      "listening",
    );
  } catch (error) {
    if (error instanceof SettingsError) {
      for (const fault of error.faults) logger.error({ setting: fault.name }, `${fault.name} ${fault.message}`);
      logger.error({ faults: error.faults.length }, "the settings are wrong: not started");
    } else logger.error({ err: error }, error instanceof Error ? error.message : "could not start");
    process.exit(1);
  }
}

/** The first signal drains, once there is something to drain; a second one ends it at once. */
function drainOnSignals(started: Promise<App>, logger: () => ReturnType<typeof createLogger>): void {
  let stopping = false;
  const onSignal = (signal: NodeJS.Signals) => {
    if (stopping) {
      logger().warn({ signal }, "second signal: stopping at once");
      process.exit(1);
    }
    stopping = true;
    logger().info({ signal }, "stopping");
    started
      .then((app) => app.stop())
      .then(
        () => process.exit(0),
        (error: unknown) => {
          logger().error({ err: error }, "stopping failed");
          process.exit(1);
        },
      );
  };
  process.on("SIGTERM", onSignal);
  process.on("SIGINT", onSignal);
}

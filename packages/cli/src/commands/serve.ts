import { Command } from "commander";
import type { Io } from "../io.ts";
import { nodeEnvironment } from "../settings.ts";

export function serveCommand(io: Io): Command {
  return new Command("serve")
    .description(
      "Run a node in this process, set up by the environment. Ends when it has drained, after SIGTERM or Ctrl-C.",
    )
    .addHelpText(
      "after",
      `
docs/configuration.md has every setting. The log is JSON lines on standard output.

Examples:
  AUTH=off carillon serve
  PORT=8080 JWT_SECRET=… REDIS_URL=redis://127.0.0.1 DATABASE_URL=postgres://… carillon serve`,
    )
    .action(async () => {
      const { runNode } = await import("@carillon/server");
      await runNode(nodeEnvironment(io.env));
    });
}

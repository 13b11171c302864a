import { readFileSync } from "node:fs";
import { Command } from "commander";
import { channelsCommand } from "./commands/channels.ts";
import { doctorCommand } from "./commands/doctor.ts";
import { nodesCommand } from "./commands/nodes.ts";
import { notifyCommand } from "./commands/notify.ts";
import { publishCommand } from "./commands/publish.ts";
import { pushCommand } from "./commands/push.ts";
import { refreshCommand } from "./commands/refresh.ts";
import { serveCommand } from "./commands/serve.ts";
import { tailCommand } from "./commands/tail.ts";
import { tokenCommand } from "./commands/token.ts";
import { unwatchCommand, watchCommand } from "./commands/watch.ts";
import type { Io } from "./io.ts";

const COMMANDS = [
  publishCommand,
  refreshCommand,
  notifyCommand,
  tailCommand,
  watchCommand,
  unwatchCommand,
  tokenCommand,
  doctorCommand,
  nodesCommand,
  channelsCommand,
  pushCommand,
  serveCommand,
];

const HELP_WIDTH = 110;

export function buildProgram(io: Io): Command {
  const { version } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8"));
  const program = new Command("carillon")
    .description("Publishes to Carillon, listens to it, and finds what is wrong with it.")
    .version(version, "-V, --version", "print the version")
    .helpCommand("help [command]", "print the help of a command")
    .addHelpText(
      "after",
      `
Where the node is and who you are comes from the options of a command, else from the environment (CARILLON_URL, CARILLON_KEY,
CARILLON_TOKEN, DATABASE_URL), else from a profile in ~/.config/carillon/config.json.

Exit codes: 0 done, 1 it failed or a problem was found, 2 the command line is wrong.`,
    );
  for (const make of COMMANDS) program.addCommand(make(io));
  configure(program, "carillon", io);
  return program;
}

/** Commands that are made apart inherit nothing. */
function configure(command: Command, name: string, io: Io): void {
  command
    .exitOverride()
    .helpOption("-h, --help", "print this help")
    .showHelpAfterError(`(${name} --help)`)
    .configureOutput({
      writeOut: (text) => io.out.write(text),
      writeErr: (text) => io.err.write(text),
      getOutHasColors: () => io.out.colors,
      getErrHasColors: () => io.err.colors,
      getOutHelpWidth: () => HELP_WIDTH,
      getErrHelpWidth: () => HELP_WIDTH,
    });
  for (const part of command.commands) configure(part, `${name} ${part.name()}`, io);
}

/** Prints `docs/cli.md` from what `--help` says: `node packages/cli/src/docs.ts`. */
import { writeFileSync } from "node:fs";
import { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import type { Command } from "commander";
import type { Io } from "./io.ts";
import { buildProgram } from "./program.ts";

export const CLI_DOC = fileURLToPath(new URL("../../../docs/cli.md", import.meta.url));

const INTRODUCTION = `# The command line

\`carillon\` publishes to a deployment, notifies users, listens, has tables watched, makes development tokens, runs a node, and finds what is
wrong with a deployment (\`carillon doctor\`). In this repository it is \`npx carillon\` or \`npm run carillon --\`, once \`npm start\` or
\`npm test\` has installed it.

\`\`\`sh
npm start &                                  # a node on http://127.0.0.1:3000
npx carillon tail orders trips &
npx carillon refresh trips TRIP_APPROVED
npx carillon publish orders '{"id":7}'
npx carillon doctor
\`\`\`

## Where it connects to

An option goes before the environment, the environment before the profile.

| option | environment | in a profile | default |
| --- | --- | --- | --- |
| \`--url\` | \`CARILLON_URL\` | \`url\` | \`http://127.0.0.1:3000\` |
| \`--key\` | \`CARILLON_KEY\` | \`key\` | none; the secret of an API key, without its name |
| \`--token\` | \`CARILLON_TOKEN\` | \`token\` | none; a user's token |
| \`--database-url\` | \`DATABASE_URL\` | \`databaseUrl\` | none |
| \`--jwt-secret\` | \`JWT_SECRET\` | \`jwtSecret\` | none |
| \`--profile\` | \`CARILLON_PROFILE\` | | the one that \`default\` names |

Others on the machine can see options: give secrets by the environment, by a profile, or as \`@path\` of a file. Profiles are in
\`~/.config/carillon/config.json\` (or where \`CARILLON_CONFIG\` says), which only you should be able to read:

\`\`\`json
{
  "default": "local",
  "profiles": {
    "local": { "url": "http://127.0.0.1:3000" },
    "staging": { "url": "https://realtime.staging.example.com", "key": "…" }
  }
}
\`\`\`

## What it answers

| exit code | means |
| --- | --- |
| 0 | done |
| 1 | it failed, or a problem was found |
| 2 | the command line, or a profile, is wrong |

Results go to standard output and everything else to standard error; \`--json\` makes results JSON, one object a line. Colours are for
terminals only, and for none where \`NO_COLOR\` is set. What was refused comes with its code ([errors.md](errors.md)) and, where there
is one, its fix.

A publication that got no answer, or that the node asks to try later, is sent again for up to 15 s under the same
\`Idempotency-Key\`, and so is never published twice.

The rest of this page is what \`carillon <command> --help\` prints; \`node packages/cli/src/docs.ts\` writes it.`;

export function cliDoc(): string {
  const silent = { write() {}, colors: false, pendingBytes: 0 };
  const io: Io = { env: {}, stdin: Readable.from([]), out: silent, err: silent, signal: new AbortController().signal };
  const pages = buildProgram(io).commands.flatMap((command) => helpOf(command, "carillon"));
  return `${[INTRODUCTION, ...pages].join("\n\n")}\n`;
}

function helpOf(command: Command, above: string): string[] {
  const name = `${above} ${command.name()}`;
  let text = "";
  command.configureOutput({
    writeOut: (part) => {
      text += part;
    },
  });
  command.outputHelp();
  const page = `## ${name}\n\n\`\`\`text\n${text.trimEnd()}\n\`\`\``;
  return [page, ...command.commands.flatMap((part) => helpOf(part, name))];
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(CLI_DOC, cliDoc());

/** Prints `docs/configuration.md` from the schema: `node packages/server/src/settings/docs.ts`. */
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { GROUPS, SCHEMA, type Setting, type SettingName } from "./schema.ts";

export const CONFIGURATION_DOC = fileURLToPath(new URL("../../../../docs/configuration.md", import.meta.url));

export function configurationDoc(): string {
  const parts = [
    "# Configuration",
    "",
    "Everything is set by environment variables. A wrong one stops the start, and every fault is named at once. An empty variable",
    "counts as absent. Units stand at the end of a name. Settings marked *secret* can also be given as the path of a file in",
    "`<NAME>_FILE` and are never logged.",
    "",
    "This page is printed from `packages/server/src/settings/schema.ts` by `node packages/server/src/settings/docs.ts`.",
  ];
  for (const [title, names] of Object.entries(GROUPS)) {
    parts.push("", `## ${title}`, "", "| setting | default | what it is |", "| --- | --- | --- |");
    for (const name of names) parts.push(row(name, SCHEMA[name]));
  }
  return `${parts.join("\n")}\n`;
}

function row(name: SettingName, setting: Setting): string {
  const secret = setting.secret === true ? " *Secret.*" : "";
  return `| \`${name}\` | ${cell(shownDefault(setting))} | ${cell(`${setting.about} ${rule(setting)}`.trim())}${secret} |`;
}

function shownDefault(setting: Setting): string {
  return setting.defaultText ?? (setting.default === undefined ? "none" : `\`${setting.default}\``);
}

/** The rule in words is the message of its own failure, so that the two can't differ. */
function rule(setting: Setting): string {
  const failure = setting.rule.safeParse("\u0000,\u0000=");
  const message = failure.error?.issues[0]?.message;
  if (message === undefined || message.startsWith("must be text of")) return "";
  return `${message.replace(/^must be /, "").replace(/^./, (first) => first.toUpperCase())}.`;
}

function cell(text: string): string {
  return text.replaceAll("|", "\\|");
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(CONFIGURATION_DOC, configurationDoc());

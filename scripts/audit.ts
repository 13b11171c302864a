/** `npm run audit`: known vulnerabilities of what ships, where the registry can be asked about them; it says so where it can't. */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";

/** A registry that does not answer must not hold up who asks. */
const TIMEOUT_MS = 60_000;
const { packageManager } = JSON.parse(readFileSync("package.json", "utf8")) as { packageManager: string };
const { stdout, stderr, status, error } = spawnSync("npx", ["-y", packageManager, "audit", "--prod", "--json"], {
  encoding: "utf8",
  timeout: TIMEOUT_MS,
  maxBuffer: 64 * 1024 * 1024,
});

interface Report {
  readonly error?: { readonly code?: string; readonly message?: string };
  readonly metadata?: { readonly vulnerabilities?: Readonly<Record<string, number>> };
  readonly advisories?: Readonly<
    Record<
      string,
      { readonly severity: string; readonly module_name: string; readonly title: string; readonly url: string }
    >
  >;
}

const report = parsed(stdout);
const counts = report?.metadata?.vulnerabilities;
if (report === undefined || counts === undefined) {
  const reason = error?.message ?? report?.error?.message ?? (text(`${stdout}${stderr}`) || `exit code ${status}`);
  console.log(`NOT AUDITED: this registry could not be asked about vulnerabilities (${reason}).`);
  console.log("Nothing is known about the dependencies; ask again with a registry that has an audit endpoint:");
  console.log("  npm_config_registry=https://registry.npmjs.org npm run audit");
  // No finding, and no clean bill either: CI decides what that means to it.
  process.exit(process.argv.includes("--strict") ? 1 : 0);
}

for (const { severity, module_name: name, title, url } of Object.values(report.advisories ?? {})) {
  console.log(`${severity.padEnd(9)} ${name}: ${title} (${url})`);
}
const grave = (counts.high ?? 0) + (counts.critical ?? 0);
console.log(
  `Audited: ${Object.entries(counts)
    .map(([severity, count]) => `${count} ${severity}`)
    .join(", ")}.`,
);
process.exit(grave > 0 ? 1 : 0);

/** Without the frame that is drawn around it. */
function text(output: string): string {
  return output
    .replaceAll(/[│╭╮╰╯─┌┐└┘]/g, " ")
    .replaceAll(/\s+/g, " ")
    .trim()
    .slice(0, 300);
}

function parsed(text: string): Report | undefined {
  try {
    return JSON.parse(text) as Report;
  } catch {
    return undefined;
  }
}

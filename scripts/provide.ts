import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";

/** Programs and the Debian packages that hold them. */
const packages: Record<string, string> = {
  "redis-server": "redis-server",
  "redis-sentinel": "redis-sentinel",
  nginx: "nginx",
  pgbouncer: "pgbouncer",
  chromium: "chromium",
};

/** Programs of administrators are not on everybody's PATH. */
const folders = [...(process.env.PATH ?? "").split(delimiter), "/usr/sbin", "/usr/local/sbin"];

export function missing(programs: string[]): string[] {
  return programs.filter((program) => !folders.some((folder) => existsSync(join(folder, program))));
}

/** How to get programs, as a command to copy. */
export function howToInstall(programs: string[]): string {
  const names = programs.map((program) => packages[program] ?? program).join(" ");
  return `Debian, Ubuntu: sudo apt-get install ${names}\nelsewhere: install ${names} so that ${programs.join(", ")} can be found on PATH`;
}

/** Sees to it that `programs` are there: installs what is missing where this is root on Debian, else says what to do and exits. */
export function provide(programs: string[]): void {
  const absent = missing(programs);
  if (absent.length === 0) return;
  console.log("== providing");
  for (const program of programs) console.log(`   ${program}: ${absent.includes(program) ? "missing" : "here"}`);
  if (process.getuid?.() !== 0 || !isDebian()) {
    console.error(`This runs against real servers, and ${absent.join(", ")} cannot be found.\n${howToInstall(absent)}`);
    process.exit(1);
  }
  const names = [...new Set(absent.map((program) => packages[program] ?? program))];
  console.log(`   installing ${names.join(", ")} with apt-get`);
  withoutServices(() => {
    apt("update");
    apt("install", "-y", "--no-install-recommends", ...names);
  });
  const still = missing(absent);
  if (still.length > 0) {
    console.error(`apt-get installed ${names.join(", ")}, yet ${still.join(", ")} cannot be found.`);
    process.exit(1);
  }
}

function apt(...args: string[]): void {
  const { status, error } = spawnSync("apt-get", ["-o", "DPkg::Lock::Timeout=300", ...args], {
    stdio: ["ignore", "inherit", "inherit"],
    env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" },
  });
  if (status === 0) return;
  console.error(
    `apt-get ${args.join(" ")} failed${error ? `: ${error.message}` : ` with exit code ${status}`}; see above.`,
  );
  process.exit(1);
}

/** Debian starts what it installs. The tests start their own, and port 6379 or 80 may be somebody else's. */
function withoutServices(install: () => void): void {
  const policy = "/usr/sbin/policy-rc.d";
  // Where there is one, somebody has decided already, as container images do.
  const restore = existsSync(policy) ? () => {} : () => rmSync(policy, { force: true });
  if (!existsSync(policy)) writeFileSync(policy, "#!/bin/sh\nexit 101\n", { mode: 0o755 });
  process.once("exit", restore); // `apt` above may end this process
  install();
  restore();
}

function isDebian(): boolean {
  return existsSync("/etc/os-release") && /^ID=debian$/m.test(readFileSync("/etc/os-release", "utf8"));
}

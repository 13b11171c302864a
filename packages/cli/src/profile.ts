import { readFileSync, statSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { isPlainObject } from "@carillon/protocol";
import { usage } from "./failure.ts";
import type { Io } from "./io.ts";

const NAMES = ["url", "key", "token", "databaseUrl", "jwtSecret"] as const;

export type Profile = { readonly [name in (typeof NAMES)[number]]?: string };

interface File {
  readonly default?: string;
  readonly profiles: Readonly<Record<string, Profile>>;
}

/** `{ "default": "local", "profiles": { "local": { "url": "…", "key": "…" } } }` */
export function loadProfile(option: string | undefined, io: Io): Profile {
  const path = profilePath(io.env);
  const wanted = option ?? (io.env.CARILLON_PROFILE || undefined);
  const text = read(path);
  if (text === undefined) {
    if (wanted === undefined) return {};
    throw usage(`there is no profile "${wanted}": ${path} does not exist`, "create that file, or leave --profile out");
  }
  warnIfOthersRead(path, io);
  const file = parse(text, path);
  const name = wanted ?? file.default;
  if (name === undefined) return {};
  const profile = Object.hasOwn(file.profiles, name) ? file.profiles[name] : undefined;
  if (profile !== undefined) return profile;
  throw usage(`${path} has no profile "${name}"`, `it has: ${Object.keys(file.profiles).join(", ") || "none"}`);
}

export function profilePath(env: Io["env"]): string {
  if (env.CARILLON_CONFIG) return env.CARILLON_CONFIG;
  return join(env.XDG_CONFIG_HOME || join(env.HOME || homedir(), ".config"), "carillon", "config.json");
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw usage(`${path} can't be read (${(error as NodeJS.ErrnoException).code})`, "make it a file that you may read");
  }
}

function warnIfOthersRead(path: string, io: Io): void {
  if (process.platform === "win32" || (statSync(path).mode & 0o077) === 0) return;
  io.err.write(`warning: others can read ${path}, where secrets may be: chmod 600 ${path}\n`);
}

/** Never repeats a value: one of them may be a secret in the wrong place. */
function parse(text: string, path: string): File {
  const wrong = (what: string) =>
    usage(`${path} ${what}`, 'it looks like {"profiles":{"local":{"url":"…","key":"…"}}}');
  let file: unknown;
  try {
    file = JSON.parse(text);
  } catch {
    throw wrong("is not JSON");
  }
  if (!isPlainObject(file) || !isPlainObject(file.profiles)) throw wrong('has no object "profiles"');
  if (file.default !== undefined && typeof file.default !== "string") throw wrong('has a "default" that is not text');
  for (const [name, profile] of Object.entries(file.profiles)) {
    if (!isPlainObject(profile)) throw wrong(`has a profile "${name}" that is not an object`);
    for (const [key, value] of Object.entries(profile)) {
      if (!(NAMES as readonly string[]).includes(key)) {
        throw usage(`${path}: profile "${name}" has an unknown "${key}"`, `a profile has ${NAMES.join(", ")}`);
      }
      if (typeof value !== "string") throw wrong(`has a "${key}" in profile "${name}" that is not text`);
    }
  }
  return file as unknown as File;
}

/** Where the node is and who calls: an option, else the environment, else the profile, else what `npm start` runs. */
import { readFileSync } from "node:fs";
import type { Command } from "commander";
import { usage } from "./failure.ts";
import type { Io } from "./io.ts";
import { loadProfile, type Profile } from "./profile.ts";

export interface EndpointOptions {
  readonly url?: string;
  readonly key?: string;
  readonly token?: string;
  readonly profile?: string;
}

export interface Endpoint {
  readonly url: URL;
  /** The secret of an API key. */
  readonly key: string | undefined;
  /** A user's token. */
  readonly token: string | undefined;
}

const OWN = ["CARILLON_URL", "CARILLON_KEY", "CARILLON_TOKEN", "CARILLON_PROFILE", "CARILLON_CONFIG"];
const DEFAULT_URL = "http://127.0.0.1:3000";

/** The options that `endpointOf` reads. */
export function withEndpoint(command: Command): Command {
  return command
    .option("--url <url>", `the node, or the balancer in front of the nodes (CARILLON_URL; default ${DEFAULT_URL})`)
    .option("--key <secret>", "secret of an API key; @file reads it from a file (CARILLON_KEY)")
    .option("--token <jwt>", "a user's token; @file reads it from a file (CARILLON_TOKEN)")
    .option("--profile <name>", "a profile of ~/.config/carillon/config.json (CARILLON_PROFILE)");
}

export function endpointOf(options: EndpointOptions, io: Io): Endpoint {
  const profile = loadProfile(options.profile, io);
  const url = options.url ?? given(io.env.CARILLON_URL) ?? profile.url ?? DEFAULT_URL;
  return {
    url: httpUrl(url),
    key: secret(options.key) ?? given(io.env.CARILLON_KEY) ?? profile.key,
    token: secret(options.token) ?? given(io.env.CARILLON_TOKEN) ?? profile.token,
  };
}

/** One setting that is no part of an endpoint, by the same order. */
export function settingOf(
  name: "databaseUrl" | "jwtSecret",
  variable: string,
  option: string | undefined,
  profileName: string | undefined,
  io: Io,
): string | undefined {
  const profile: Profile = loadProfile(profileName, io);
  return secret(option) ?? given(io.env[variable]) ?? profile[name];
}

/** A node warns of variables that look like settings of its own and are none. */
export function nodeEnvironment(env: Io["env"]): Io["env"] {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !OWN.includes(name)));
}

export function httpUrl(text: string): URL {
  const url = URL.parse(text);
  if (url === null || !["http:", "https:"].includes(url.protocol)) {
    throw usage(`${JSON.stringify(text)} is not the URL of a node`, "write it like https://realtime.example.com");
  }
  return url;
}

function given(text: string | undefined): string | undefined {
  return text?.trim() || undefined;
}

function secret(option: string | undefined): string | undefined {
  if (option === undefined || !option.startsWith("@")) return given(option);
  try {
    return given(readFileSync(option.slice(1), "utf8"));
  } catch {
    throw usage(`${option.slice(1)} can't be read`, "give the path of a file that holds the secret and nothing else");
  }
}

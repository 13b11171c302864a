import { readFileSync } from "node:fs";
import { parseEnv } from "node:util";
import type { Settings } from "@carillon/server";
import { usage } from "../failure.ts";
import type { Io } from "../io.ts";
import { nodeEnvironment } from "../settings.ts";
import { DOCS, type Finding, ok, problem, skipped, warning } from "./finding.ts";

export interface NodeSettings {
  /** Absent where there are none, or some are wrong. */
  readonly settings?: Settings;
  readonly findings: readonly Finding[];
}

type Env = Io["env"];

/** Without any of these, it is not a node's environment in which the doctor was asked. */
const TELLING = /^(AUTH|JWT_|JWKS_URL|API_KEYS|REDIS_|DATABASE_)/;

/** The environment, and what a file of it adds. */
export function nodeEnv(file: string | undefined, env: Env): Env {
  const own = nodeEnvironment(env);
  if (file === undefined) return own;
  try {
    return { ...own, ...parseEnv(readFileSync(file, "utf8")) };
  } catch {
    throw usage(`${file} can't be read`, "give the path of a file with lines like REDIS_URL=redis://…");
  }
}

export async function checkSettings(env: Env): Promise<NodeSettings> {
  if (!Object.entries(env).some(([name, value]) => TELLING.test(name) && value !== "")) {
    return {
      findings: [
        skipped(
          "settings",
          "there are no settings of a node in the environment: Redis and Postgres are not looked at",
          "run it where a node runs, with its environment, or name its file by --env-file",
        ),
      ],
    };
  }
  const { loadSettings, SettingsError } = await import("@carillon/server");
  try {
    const settings = loadSettings(env);
    const findings = settings.warnings.map((text) =>
      warning("settings", text, { fix: "correct it in the node's environment", docs: DOCS.configuration }),
    );
    return { settings, findings: findings.length > 0 ? findings : [ok("settings", "the settings are right")] };
  } catch (error) {
    if (!(error instanceof SettingsError)) throw error;
    const findings = error.faults.map(({ name, message }) =>
      problem("settings", `${name} ${message}`, {
        fix: `correct ${name} in the node's environment: no node starts with it`,
        docs: DOCS.configuration,
      }),
    );
    return { findings };
  }
}

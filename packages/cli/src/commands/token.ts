import { Command } from "commander";
import { SignJWT } from "jose";
import { usage } from "../failure.ts";
import type { Io } from "../io.ts";
import { settingOf } from "../settings.ts";
import { list } from "./publishing.ts";

interface Options {
  readonly sub: string;
  readonly roles?: string[];
  readonly tenant?: string;
  readonly sid?: string;
  readonly channels?: string[];
  readonly publish?: string[];
  readonly rooms?: string[];
  readonly ttl: number;
  readonly jwtSecret?: string;
  readonly profile?: string;
  readonly json?: boolean;
}

const UNITS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400 };
const MIN_SECRET = 32;

export function tokenCommand(io: Io): Command {
  return new Command("token")
    .description(
      "Make a user's token for development, signed with the node's JWT_SECRET. In production your login does that.",
    )
    .option("--sub <id>", "the user", "dev")
    .option("--roles <names>", "roles; commas part several", list)
    .option("--tenant <id>", "the tenant")
    .option("--sid <id>", "the session, for revoking it alone")
    .option("--channels <patterns>", "may subscribe: chat, orders.*", list)
    .option("--publish <patterns>", "may publish", list)
    .option("--rooms <patterns>", "may join: trip:*", list)
    .option("--ttl <time>", "how long it holds: 90s, 15m, 12h, 7d", seconds, 3600)
    .option("--jwt-secret <secret>", "@file reads it from a file (JWT_SECRET)")
    .option("--profile <name>", "a profile of ~/.config/carillon/config.json (CARILLON_PROFILE)")
    .option("--json", "print the token with its claims")
    .addHelpText(
      "after",
      `
JWT_ISSUER, JWT_AUDIENCE, JWT_ROLES_CLAIM and JWT_TENANT_CLAIM are honoured where they are set.

Examples:
  carillon token --sub 42 --roles driver --channels 'chat,orders.*' --rooms 'trip:*'
  export CARILLON_TOKEN=$(carillon token --sub 42 --channels '*' --ttl 12h)`,
    )
    .action((options: Options) => printToken(options, io));
}

async function printToken(options: Options, io: Io): Promise<void> {
  const secret = settingOf("jwtSecret", "JWT_SECRET", options.jwtSecret, options.profile, io);
  if (secret === undefined) throw usage("there is no secret to sign with", "set JWT_SECRET to the node's");
  if (secret.length < MIN_SECRET) {
    io.err.write(`warning: JWT_SECRET has fewer than ${MIN_SECRET} characters and can be guessed from any token\n`);
  }
  const claims = claimsOf(options, io.env);
  const token = await signToken(claims, secret);
  io.out.write(options.json === true ? `${JSON.stringify({ token, claims })}\n` : `${token}\n`);
}

export function signToken(claims: Record<string, unknown>, secret: string): Promise<string> {
  return new SignJWT(claims).setProtectedHeader({ alg: "HS256", typ: "JWT" }).sign(new TextEncoder().encode(secret));
}

function claimsOf(options: Options, env: Io["env"]): Record<string, unknown> {
  const issuedAt = Math.floor(Date.now() / 1000);
  const claims: Record<string, unknown> = { sub: options.sub, iat: issuedAt, exp: issuedAt + options.ttl };
  for (const name of ["sid", "channels", "publish", "rooms"] as const) {
    if (options[name] !== undefined) claims[name] = options[name];
  }
  // A claim with dots in its name is as good as the path that they spell.
  if (options.roles !== undefined) claims[env.JWT_ROLES_CLAIM || "roles"] = options.roles;
  if (options.tenant !== undefined) claims[env.JWT_TENANT_CLAIM || "tenant"] = options.tenant;
  if (env.JWT_ISSUER) claims.iss = env.JWT_ISSUER;
  if (env.JWT_AUDIENCE) claims.aud = env.JWT_AUDIENCE;
  return claims;
}

function seconds(text: string): number {
  const [, amount = "", unit = ""] = /^(\d{1,9})([smhd])$/.exec(text) ?? [];
  const result = Number(amount) * (UNITS[unit] ?? Number.NaN);
  if (!(result > 0)) throw usage(`--ttl ${text} is not a time`, "write it as 90s, 15m, 12h or 7d");
  return result;
}

import type { Settings } from "@carillon/server";
import { signToken } from "../commands/token.ts";
import type { Endpoint } from "../settings.ts";

export interface Identity {
  /** May publish. */
  readonly key: string | undefined;
  /** May hear, and publish where it was made here. */
  readonly token: string | undefined;
  /** What stands in for a token under `AUTH=off`. */
  readonly user: string;
}

export const DOCTOR = "carillon:doctor";
const TOKEN_S = 300;

/** Who the doctor is: as told, else as the settings of the nodes allow. */
export async function identityOf(endpoint: Endpoint, settings: Settings | undefined): Promise<Identity> {
  const { jwtSecret } = settings?.auth ?? {};
  const made =
    settings === undefined || jwtSecret === undefined ? undefined : await signToken(claims(settings), jwtSecret);
  return {
    key: endpoint.key ?? publishingKey(settings?.auth.apiKeys),
    token: endpoint.token ?? made,
    user: DOCTOR,
  };
}

function claims({ auth }: Settings): Record<string, unknown> {
  const issuedAt = Math.floor(Date.now() / 1000);
  return {
    sub: DOCTOR,
    iat: issuedAt,
    exp: issuedAt + TOKEN_S,
    channels: [DOCTOR],
    publish: [DOCTOR],
    ...(auth.issuer !== undefined && { iss: auth.issuer }),
    ...(auth.audience !== undefined && { aud: auth.audience }),
  };
}

/** The secret of the first key that may publish everywhere: `name:secret[:right+right]`, comma-separated. */
function publishingKey(keys: string | undefined): string | undefined {
  for (const key of keys?.split(",") ?? []) {
    const [, secret, ...rights] = key.trim().split(":");
    const granted = rights.join(":").split("+");
    if (rights.length === 0 || granted.some((right) => ["publish", "publish:*"].includes(right))) return secret;
  }
  return undefined;
}

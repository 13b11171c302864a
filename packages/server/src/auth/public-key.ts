import { createPublicKey, type KeyObject } from "node:crypto";

export interface PublicKey {
  readonly key: KeyObject;
  /** What it can verify; never HMAC, or a public key would be somebody's secret. */
  readonly algorithms: readonly string[];
}

const MIN_RSA_BITS = 2048;

/** Reads PEM, also with `\n` for its line ends as in one-line environment files. Throws `TypeError` with what would be right. */
export function readPublicKey(pem: string): PublicKey {
  const key = parse(pem.replaceAll("\\n", "\n"));
  const { asymmetricKeyType: kind, asymmetricKeyDetails: details } = key;
  if (kind === "rsa" && (details?.modulusLength ?? 0) >= MIN_RSA_BITS) return { key, algorithms: ["RS256"] };
  if (kind === "ec" && details?.namedCurve === "prime256v1") return { key, algorithms: ["ES256"] };
  if (kind === "ed25519") return { key, algorithms: ["EdDSA", "Ed25519"] };
  throw new TypeError(`must be a public key of RSA with at least ${MIN_RSA_BITS} bits, P-256 or Ed25519`);
}

function parse(pem: string): KeyObject {
  try {
    return createPublicKey(pem);
  } catch {
    throw new TypeError("must be a whole public key in PEM form; this one can't be read");
  }
}

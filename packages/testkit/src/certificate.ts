import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";

export interface Certificate {
  /** PEM files. The certificate is its own authority. */
  readonly certFile: string;
  readonly keyFile: string;
}

/** A certificate for 127.0.0.1 and localhost in `dir`, which is made where it isn't there; an old one is used again. */
export function certificateIn(dir: string): Certificate {
  const [certFile, keyFile] = [join(dir, "cert.pem"), join(dir, "key.pem")];
  if (existsSync(certFile)) return { certFile, keyFile };
  mkdirSync(dir, { recursive: true });
  const { status, stderr, error } = spawnSync(
    "openssl",
    [
      ..."req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=localhost".split(" "),
      ...["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", "-keyout", keyFile, "-out", certFile],
    ],
    { encoding: "utf8" },
  );
  if (status !== 0) throw new Error(`openssl made no certificate: ${error?.message ?? stderr}`);
  return { certFile, keyFile };
}

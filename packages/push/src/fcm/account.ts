/** Reads FIREBASE_CREDENTIALS. What is wrong is said by a `TypeError` that never repeats any of it. */
import { createPrivateKey } from "node:crypto";
import { readFileSync } from "node:fs";

/** A service account of the Firebase project that the devices' apps belong to. */
export interface FirebaseAccount {
  readonly projectId: string;
  readonly clientEmail: string;
  readonly privateKey: string;
}

/** `credentials` is the JSON that the Firebase console gives, or the path of a file with it. */
export function readFirebaseAccount(credentials: string): FirebaseAccount {
  const inline = credentials.trimStart().startsWith("{");
  const json = parsed(inline ? credentials : contents(credentials));
  const { project_id: projectId, client_email: clientEmail, private_key: privateKey } = json;
  for (const [name, value] of Object.entries({
    project_id: projectId,
    client_email: clientEmail,
    private_key: privateKey,
  })) {
    if (typeof value !== "string" || value === "")
      throw new TypeError(`must be a service account; this one has no ${name}`);
  }
  return {
    projectId: projectId as string,
    clientEmail: clientEmail as string,
    privateKey: checkedKey(privateKey as string),
  };
}

function contents(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    throw new TypeError(
      "must be the JSON of a service account, or the path of a file with it that this process can read",
    );
  }
}

function parsed(text: string): Record<string, unknown> {
  for (const attempt of [text, withoutBareLineEnds(text)]) {
    try {
      const value: unknown = JSON.parse(attempt);
      if (typeof value === "object" && value !== null) return value as Record<string, unknown>;
    } catch {
      // The next one may do.
    }
  }
  throw new TypeError("must be the JSON of a service account; this can't be read as JSON");
}

/** Environment files turn the key's `\n` into line ends, which JSON does not allow within text. */
function withoutBareLineEnds(text: string): string {
  return text.replace(/("private_key"\s*:\s*")([^"]*)"/, (_all, start, key: string) => {
    return `${start}${key.replace(/\r?\n/g, "\\n")}"`;
  });
}

function checkedKey(key: string): string {
  // Escaped twice, as it happens on the way through a shell and a file.
  const pem = key.replaceAll("\\n", "\n").replaceAll("\\r", "").trim();
  try {
    createPrivateKey(pem);
    return `${pem}\n`;
  } catch {
    throw new TypeError("must be a service account with a whole private key in PEM form; this one's can't be read");
  }
}

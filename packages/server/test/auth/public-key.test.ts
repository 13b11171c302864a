import { generateKeyPairSync } from "node:crypto";
import { expect, test } from "vitest";
import { readPublicKey } from "../../src/auth/public-key.ts";

const spki = { type: "spki", format: "pem" } as const;
const pem = (pair: { readonly publicKey: { export(options: typeof spki): string | Buffer } }) =>
  String(pair.publicKey.export(spki));

test("each kind of key verifies the algorithm that is its own", () => {
  expect(readPublicKey(pem(generateKeyPairSync("rsa", { modulusLength: 2048 }))).algorithms).toEqual(["RS256"]);
  expect(readPublicKey(pem(generateKeyPairSync("ec", { namedCurve: "P-256" }))).algorithms).toEqual(["ES256"]);
  expect(readPublicKey(pem(generateKeyPairSync("ed25519"))).algorithms).toContain("EdDSA");
});

test.each([
  ["RSA of 1024 bits", () => pem(generateKeyPairSync("rsa", { modulusLength: 1024 })), /2048/],
  ["P-384", () => pem(generateKeyPairSync("ec", { namedCurve: "P-384" })), /P-256/],
  ["half of one", () => "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----", /can't be read/],
])("%s is refused with what would be right", (_what, key, message) => {
  expect(() => readPublicKey(key())).toThrow(message);
});

import { generateKeyPairSync } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { tempDir } from "@carillon/testkit";
import { expect, test } from "vitest";
import { readFirebaseAccount } from "../../src/fcm/account.ts";

const pem = generateKeyPairSync("rsa", { modulusLength: 2048 })
  .privateKey.export({ type: "pkcs8", format: "pem" })
  .toString();
const account = { type: "service_account", project_id: "shop", client_email: "a@b.c", private_key: pem };
const read = { projectId: "shop", clientEmail: "a@b.c", privateKey: pem };

test("JSON text and the path of a file are both read", () => {
  const path = join(tempDir("account"), "key.json");
  writeFileSync(path, JSON.stringify(account, null, 2));

  expect(readFirebaseAccount(JSON.stringify(account))).toEqual(read);
  expect(readFirebaseAccount(path)).toEqual(read);
});

test.each([
  ["escaped twice", JSON.stringify({ ...account, private_key: pem.replaceAll("\n", "\\n") })],
  ["turned into real ones within the JSON", JSON.stringify(account).replaceAll("\\n", "\n")],
  ["turned into those of Windows", JSON.stringify(account, null, 2).replaceAll("\\n", "\r\n")],
])("a key whose line ends were %s is read", (_how, text) => {
  expect(readFirebaseAccount(text)).toEqual(read);
});

test.each([
  ["no such file", "/no/such/file.json", "the path of a file"],
  ["no JSON", "{nonsense", "can't be read as JSON"],
  ["no project", JSON.stringify({ ...account, project_id: undefined }), "has no project_id"],
  ["half a key", JSON.stringify({ ...account, private_key: pem.slice(0, 200) }), "whole private key"],
])("%s is refused, and nothing of it repeated", (_what, text, message) => {
  let thrown: unknown;
  try {
    readFirebaseAccount(text);
  } catch (error) {
    thrown = error;
  }

  expect(thrown).toBeInstanceOf(TypeError);
  expect(String(thrown)).toContain(message);
  expect(String(thrown)).not.toContain("MII");
});

import { noMeter } from "@carillon/core";
import { expect, test } from "vitest";
import { openPolicy } from "../../src/auth/open.ts";
import type { Principal } from "../../src/auth/principal.ts";
import { CredentialWatch } from "../../src/gateway/credential-watch.ts";
import { connectionOf } from "./fakes.ts";

test("a renewed token costs a look at its own transport, however many others the node has", async () => {
  const principal = { kind: "user", user: "42" } as const;
  const connection = connectionOf({ principal });
  const renewed: Principal = { ...connection.principal, expiresMs: 9_000_000 };
  const watch = new CredentialWatch({
    authenticator: { authenticate: async () => renewed },
    policy: openPolicy,
    connections: () => {
      throw new Error("thousands were looked through");
    },
    companions: (one) => [one],
    save: async () => {},
    meter: noMeter,
    logger: { debug() {}, info() {}, warn() {}, error() {} },
  });
  Object.assign(connection.socket, { join() {}, leave() {} });

  await watch.renew(connection, "a token");

  expect(connection.principal).toBe(renewed);
});

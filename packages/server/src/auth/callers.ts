/** Who calls REST: a server with a key, or a user with a token. */

import type { IncomingHttpHeaders } from "node:http";
import { CarillonError } from "@carillon/protocol";
import type { Action, Caller, CallerAuthenticator } from "../http/deps.ts";
import type { ApiKey, ApiKeys, KeyAction } from "./api-keys.ts";
import { bearer } from "./authenticator.ts";
import type { Authenticator, Policy, Principal } from "./principal.ts";

export interface CallersOptions {
  readonly keys: ApiKeys;
  readonly users: Authenticator;
  readonly policy: Policy;
}

export class Callers implements CallerAuthenticator {
  readonly #options: CallersOptions;

  constructor(options: CallersOptions) {
    this.#options = options;
  }

  async caller(headers: IncomingHttpHeaders): Promise<Caller> {
    const { keys, users, policy } = this.#options;
    const secret = bearer(headers.authorization);
    const key = secret === undefined ? undefined : keys.find(secret);
    if (key !== undefined) return keyCaller(key);
    if (secret === undefined && headers.cookie === undefined) {
      throw new CarillonError("UNAUTHENTICATED", "send Authorization: Bearer with an API key or a token");
    }
    return userCaller(await users.authenticate({ auth: {}, headers }), policy);
  }
}

/** Keys publish; they hear only what an operator may look at. */
function keyCaller(key: ApiKey): Caller {
  return {
    name: key.name,
    kind: "key",
    may: (action, channel) =>
      action === "subscribe" ? key.may("operate") : key.may(action satisfies KeyAction, channel),
  };
}

function userCaller(principal: Principal, policy: Policy): Caller {
  return {
    name: principal.user ?? "",
    kind: "user",
    principal,
    may: (action, channel) => userMay(principal, policy, action, channel),
  };
}

function userMay(principal: Principal, policy: Policy, action: Action, channel: string | undefined): boolean {
  switch (action) {
    case "publish":
      if (channel === undefined) return principal.grants.lists?.publish.length !== 0;
      return policy.mayPublish(principal, channel);
    case "subscribe":
      return channel === undefined || policy.mayHear(principal, channel);
    case "operate":
      return policy.mayOperate(principal);
    default:
      return false;
  }
}

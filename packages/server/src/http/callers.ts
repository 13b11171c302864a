/** Route hooks that say who asks. They run before a body is read, so that a stranger can't make the node parse megabytes. */
import { CarillonError } from "@carillon/protocol";
import type { FastifyRequest } from "fastify";
import type { Action, Caller, CallerAuthenticator } from "./deps.ts";

declare module "fastify" {
  interface FastifyRequest {
    /** Set by `authenticated`; reading it on another route is a bug. */
    caller: Caller;
  }
}

export function authenticated(auth: CallerAuthenticator): (request: FastifyRequest) => Promise<void> {
  return async (request) => {
    request.caller = await auth.caller(request.headers);
  };
}

/** For pages and figures that show how the deployment is doing. */
export function operatorsOnly(auth: CallerAuthenticator): (request: FastifyRequest) => Promise<void> {
  return async (request) => {
    request.caller = await auth.caller(request.headers);
    demand(request.caller, "operate");
  };
}

/** After `authenticated`: for calls of servers. A user's publications carry their name, which only the single call gives them. */
export async function keysOnly({ caller }: FastifyRequest): Promise<void> {
  if (caller.kind === "user") throw new CarillonError("FORBIDDEN", "this call is for servers, with an API key");
}

/** After `authenticated`: which user asks, by a token or, under `AUTH=off`, by `X-Carillon-User`. Servers are none. */
export function askingUser({ claimed, principal }: Caller): string | undefined {
  return claimed ?? principal?.user;
}

/** After `authenticated`: the user whose own things these are. */
export function userOf(caller: Caller): string {
  const user = askingUser(caller);
  if (user !== undefined) return user;
  if (caller.kind === "open")
    throw new CarillonError("UNAUTHENTICATED", "say which user you are in the header X-Carillon-User");
  throw new CarillonError("FORBIDDEN", "this is a user's own: ask with a user's token");
}

export function demand(caller: Caller, action: Action, channel?: string): void {
  if (caller.may(action, channel)) return;
  throw new CarillonError(
    "FORBIDDEN",
    channel === undefined ? `this needs the right to ${action}` : `this needs the right to ${action} on ${channel}`,
  );
}

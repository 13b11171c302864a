/** What `publish` and `refresh` have in common: for whom, and under which key. */
import { randomUUID } from "node:crypto";
import { CarillonError, parseChannel } from "@carillon/protocol";
import type { Command } from "commander";
import { usage } from "../failure.ts";
import type { Io } from "../io.ts";
import { call } from "../rest.ts";
import { type EndpointOptions, endpointOf, withEndpoint } from "../settings.ts";

export interface PublishingOptions extends EndpointOptions {
  readonly toUsers?: string[];
  readonly toRoles?: string[];
  readonly toTenants?: string[];
  readonly toRooms?: string[];
  readonly exceptUsers?: string[];
  readonly exceptRooms?: string[];
  readonly idempotencyKey?: string;
  readonly json?: boolean;
}

interface Accepted {
  readonly id: string;
  readonly channel: string;
}

export function withPublishing(command: Command): Command {
  const audience = (flags: string, about: string) => command.option(flags, `${about}; commas part several`, list);
  audience("--to-users <ids>", "only for these users");
  audience("--to-roles <roles>", "only for these roles");
  audience("--to-tenants <ids>", "only for these tenants");
  audience("--to-rooms <rooms>", "only for these rooms");
  audience("--except-users <ids>", "not for these users");
  audience("--except-rooms <rooms>", "not for these rooms");
  command.option("--idempotency-key <key>", "published once however often it is sent (default: one for each call)");
  command.option("--json", "print the node's answer");
  return withEndpoint(command);
}

/** Values of a repeatable option. */
export function list(text: string, before: string[] = []): string[] {
  return [...before, ...text.split(",").map((part) => part.trim())].filter((part) => part !== "");
}

/** The `to` of a publication; `undefined` is everybody. */
export function audienceOf(options: PublishingOptions): object | undefined {
  const except = present({ users: options.exceptUsers, rooms: options.exceptRooms });
  return present({
    users: options.toUsers,
    roles: options.toRoles,
    tenants: options.toTenants,
    rooms: options.toRooms,
    except,
  });
}

export function send<T = Accepted>(path: string, body: string, options: PublishingOptions, io: Io): Promise<T> {
  return call<T>(endpointOf(options, io), path, {
    method: "POST",
    body,
    // One for the whole call: an answer that got lost must not become a second publication.
    idempotencyKey: options.idempotencyKey ?? randomUUID(),
    signal: io.signal,
  });
}

export function report({ id, channel }: Accepted, options: PublishingOptions, io: Io): void {
  io.out.write(options.json === true ? `${JSON.stringify({ id, channel })}\n` : `${id}  ${channel}\n`);
}

/** JSON text as it was typed, so that its numbers keep their digits. `orElse`: what else the command would take. */
export function jsonText(text: string, what: string, orElse = ""): string {
  try {
    JSON.parse(text);
    return text;
  } catch {
    throw usage(`the ${what} is not JSON`, `quote it for the shell ('{"id":7}')${orElse}`);
  }
}

/** Refuses what no node takes before anything is sent. */
export function channelName(name: string): string {
  try {
    return parseChannel(name, new Set());
  } catch (error) {
    if (error instanceof CarillonError) throw usage(error.message);
    throw error;
  }
}

function present<T extends object>(lists: T): object | undefined {
  const entries = Object.entries(lists).filter(([, value]) => value !== undefined);
  return entries.length === 0 ? undefined : Object.fromEntries(entries);
}

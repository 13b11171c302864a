/** Which device belongs to whom. One address (an FCM token or installation id) belongs to one device, whoever registered it last. */
import type { Meter } from "@carillon/core";
import { CarillonError, type Platform } from "@carillon/protocol";
import type { Database, Transaction } from "./database.ts";
import { ADDRESS_LOCK_CLASS } from "./locks.ts";

export interface DeviceState {
  readonly token?: string | null | undefined;
  readonly fid?: string | null | undefined;
  readonly platform: Platform;
  readonly locale?: string | null | undefined;
  readonly appVersion?: string | null | undefined;
}

export interface Device {
  readonly installationId: string;
  readonly platform: Platform;
  readonly locale: string | null;
  readonly appVersion: string | null;
  /** Whether it has an address: without one it gets no push. */
  readonly reachable: boolean;
  readonly registeredAt: string;
}

/** More than a person has; the one that was registered longest ago makes room. */
const MAX_PER_USER = 25;
const ATTEMPTS = 3;

export class Devices {
  readonly #database: Pick<Database, "rows" | "transaction">;
  readonly #meter: Pick<Meter, "count">;

  constructor({ database, meter }: { database: Pick<Database, "rows" | "transaction">; meter: Pick<Meter, "count"> }) {
    this.#database = database;
    this.#meter = meter;
  }

  /** The whole state, at every start of the application. `sid`: the session of the token that says so. */
  async register(user: string, installationId: string, state: DeviceState, sid?: string): Promise<Device> {
    for (let attempt = 1; ; attempt++) {
      try {
        const { device, moved, surplus } = await this.#database.transaction((transaction) =>
          register(transaction, user, installationId, state, sid),
        );
        this.#meter.count("devicesRemoved", moved, { reason: "moved" });
        this.#meter.count("devicesRemoved", surplus, { reason: "too_many" });
        return device;
      } catch (error) {
        if (attempt >= ATTEMPTS || !isDeadlock(error)) throw error;
      }
    }
  }

  /** At logout. Another user's device stays. */
  async remove(user: string, installationId: string): Promise<void> {
    await this.#remove("logout", "user_id = $1 and installation_id = $2", [user, installationId]);
  }

  /** Sessions that were revoked get no more pushes; without `sid` it is all of the user's. */
  async revoke(user: string, sid?: string): Promise<void> {
    await this.#remove("revoked", "user_id = $1 and ($2::text is null or sid = $2)", [user, sid ?? null]);
  }

  async #remove(reason: string, where: string, values: readonly unknown[]): Promise<void> {
    const rows = await this.#database.rows({ text: `delete from carillon.device where ${where} returning 1`, values });
    this.#meter.count("devicesRemoved", rows.length, { reason });
  }
}

interface Registered {
  readonly device: Device;
  readonly moved: number;
  readonly surplus: number;
}

async function register(
  { rows }: Transaction,
  user: string,
  installationId: string,
  { token = null, fid = null, platform, locale = null, appVersion = null }: DeviceState,
  sid: string | undefined,
): Promise<Registered> {
  const address = [installationId, token, fid];
  // Two that claim one address come one after the other, on whichever nodes; rows that are there are locked in one order by all.
  await rows({
    text: `select pg_advisory_xact_lock(${ADDRESS_LOCK_CLASS}, hashtext($1)) where $1 is not null`,
    values: [token ?? fid],
  });
  await rows({
    text: "select from carillon.device where installation_id = $1 or token = $2 or fid = $3 order by installation_id for update",
    values: address,
  });
  const moved = await rows({
    text: "delete from carillon.device where installation_id <> $1 and (token = $2 or fid = $3) returning 1",
    values: address,
  });
  const [row] = await rows({
    text: `insert into carillon.device as before (installation_id, token, fid, user_id, sid, platform, locale, app_version)
      values ($1, $2, $3, $4, $5, $6, $7, $8)
      on conflict (installation_id) do update set
        token = excluded.token, fid = excluded.fid, user_id = excluded.user_id, sid = excluded.sid,
        platform = excluded.platform, locale = excluded.locale, app_version = excluded.app_version,
        revision = excluded.revision, last_seen_at = excluded.last_seen_at, disabled_at = null, disabled_reason = null,
        registered_at = case when before.user_id = excluded.user_id then before.registered_at else excluded.registered_at end
      returning registered_at`,
    values: [...address, user, sid ?? null, platform, locale, appVersion],
  });
  const surplus = await rows({
    text: `delete from carillon.device where installation_id in (
        select installation_id from carillon.device where user_id = $1
        order by last_seen_at desc, revision desc offset ${MAX_PER_USER} for update skip locked
      ) returning 1`,
    values: [user],
  });
  const reachable = token !== null || fid !== null;
  const registeredAt = row?.registered_at.toISOString();
  return {
    device: { installationId, platform, locale, appVersion, reachable, registeredAt },
    moved: moved.length,
    surplus: surplus.length,
  };
}

function isDeadlock(error: unknown): boolean {
  const cause = error instanceof CarillonError ? (error.cause as { code?: unknown } | undefined) : undefined;
  return cause?.code === "40P01";
}

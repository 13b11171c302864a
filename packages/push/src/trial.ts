/** A push by hand, past decision and queue: FCM's real answer for each device of a user, or for one. */
import { randomUUID } from "node:crypto";
import type { Platform } from "@carillon/protocol";
import type { Database } from "./database.ts";
import { classify } from "./fcm/classify.ts";
import type { Fcm } from "./fcm/firebase.ts";
import { buildMessage, type PushAddress } from "./fcm/message.ts";

export interface TrialRequest {
  readonly userId?: string | undefined;
  readonly installationId?: string | undefined;
  readonly title: string;
  readonly body: string;
  /** FCM looks at it and sends nothing. */
  readonly validateOnly: boolean;
}

export interface TrialResult {
  readonly userId: string;
  readonly installationId: string;
  readonly platform: Platform;
  /** FCM took it. */
  readonly ok: boolean;
  readonly fcmName?: string;
  readonly status?: number;
  readonly fcmCode?: string;
  /** A row of the classification. */
  readonly reason?: string;
  readonly message?: string;
}

const MAX_DEVICES = 100;
const TTL_MS = 300_000;

export class Trial {
  readonly #database: Pick<Database, "rows">;
  readonly #fcm: Pick<Fcm, "send">;

  constructor(database: Pick<Database, "rows">, fcm: Pick<Fcm, "send">) {
    this.#database = database;
    this.#fcm = fcm;
  }

  /** Empty when there is no such device. Recorded as attempts; devices are left as they are, whatever FCM says. */
  async send({ userId, installationId, title, body, validateOnly }: TrialRequest): Promise<TrialResult[]> {
    const devices = await this.#database.rows({
      text: `select installation_id, user_id, platform, token, fid from carillon.device
        where ($1::text is null or user_id = $1) and ($2::text is null or installation_id = $2)
          and (token is not null or fid is not null)
        order by installation_id limit ${MAX_DEVICES}`,
      values: [userId ?? null, installationId ?? null],
    });
    if (devices.length === 0) return [];
    const eventId = `test-${randomUUID()}`;
    const expiresAtMs = Date.now() + TTL_MS;
    const content = { eventId, type: "PUSH_TEST", title, body, data: {}, unread: 0, expiresAtMs };
    const messages = devices.map(({ fid, token }) => {
      const address: PushAddress = fid === null ? { token } : { fid };
      return buildMessage(content, address).message;
    });
    const answers = await this.#fcm.send(messages, { validateOnly });
    const results = devices.map((device, i): TrialResult => {
      const about = { userId: device.user_id, installationId: device.installation_id, platform: device.platform };
      const answer = answers[i];
      if (answer === undefined) return { ...about, ok: false };
      if ("name" in answer) return { ...about, ok: true, status: 200, fcmName: answer.name };
      const { status, fcmCode, message } = answer.failure;
      return {
        ...about,
        ok: false,
        ...(status !== undefined && { status }),
        ...(fcmCode !== undefined && { fcmCode }),
        reason: classify(answer.failure).reason,
        message,
      };
    });
    await this.#record(eventId, results);
    return results;
  }

  async #record(eventId: string, results: readonly TrialResult[]): Promise<void> {
    await this.#database.rows({
      text: `insert into carillon.push_attempt
          (event_id, user_id, installation_id, attempt, outcome, status, error_code, fcm_name, detail)
        select $1, r ->> 'userId', r ->> 'installationId', 0, 'test', (r ->> 'status')::int, r ->> 'reason', r ->> 'fcmName',
          nullif(jsonb_strip_nulls(jsonb_build_object('message', r -> 'message', 'fcmCode', r -> 'fcmCode')), '{}')
        from jsonb_array_elements($2::jsonb) r`,
      values: [eventId, JSON.stringify(results)],
    });
  }
}

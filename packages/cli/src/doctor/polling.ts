/** A Socket.IO connection by long polling, in the raw: what a stock client hides is what the doctor wants to see. */
import { readJson } from "@carillon/protocol";
import { type HttpAnswer, http } from "./http.ts";

/** The balancer took the session to a node that does not have it. */
export class SessionLost extends Error {
  override readonly name = "SessionLost";
}

export class Refused extends Error {
  override readonly name = "Refused";
  readonly answer: HttpAnswer;

  constructor(answer: HttpAnswer) {
    super(`the handshake was answered ${answer.status}`);
    this.answer = answer;
  }
}

export interface Handshake {
  readonly sid: string;
  readonly pingInterval: number;
  readonly pingTimeout: number;
}

const UNKNOWN_SESSION = 1;

export class PollingSession {
  readonly handshake: Handshake;
  readonly #url: URL;
  readonly #cookie: string | undefined;

  private constructor(url: URL, handshake: Handshake, cookie: string | undefined) {
    this.#url = new URL(url);
    this.#url.searchParams.set("sid", handshake.sid);
    this.handshake = handshake;
    this.#cookie = cookie;
  }

  /** Throws `Refused` when no session is given. Browsers keep cookies, clients elsewhere don't. */
  static async open(base: URL, { cookies = false } = {}): Promise<PollingSession> {
    const url = new URL("/socket.io/?EIO=4&transport=polling", base);
    const answer = await http(url);
    const handshake =
      answer.status === 200 && answer.text.startsWith("0{") ? readJson(answer.text.slice(1)) : undefined;
    if (handshake === undefined) throw new Refused(answer);
    const cookie = answer.headers["set-cookie"]?.map((line) => line.split(";")[0]).join("; ");
    return new PollingSession(url, handshake as Handshake, cookies ? cookie : undefined);
  }

  async send(packet: string): Promise<void> {
    await this.#ask({ method: "POST", body: packet, headers: { "content-type": "text/plain;charset=UTF-8" } });
  }

  /** The packets that wait, at least one. */
  async receive(): Promise<string[]> {
    return (await this.#ask({})).text.split("\u001e");
  }

  async close(): Promise<void> {
    await this.send("1").catch(() => {}); // it would end by itself
  }

  async #ask(request: { method?: string; body?: string; headers?: Record<string, string> }): Promise<HttpAnswer> {
    const headers = { ...request.headers, ...(this.#cookie !== undefined && { cookie: this.#cookie }) };
    const answer = await http(this.#url, { ...request, headers });
    if (answer.status === 200) return answer;
    const { code } = (readJson(answer.text) ?? {}) as { code?: unknown };
    if (answer.status === 400 && code === UNKNOWN_SESSION) throw new SessionLost("another node was asked");
    throw new Error(`polling was answered ${answer.status}`);
  }
}

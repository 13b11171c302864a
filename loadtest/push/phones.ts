/** Users' devices, each in a state in which devices are: looked at, in a pocket, asleep, gone. */
import { api, waitFor } from "@carillon/testkit";
import { io, type Socket } from "socket.io-client";

/** `suspended`: its connection is open and it is silent. `offline`: it has none. `dead`: FCM does not know it any more. */
export const KINDS = ["foreground", "background", "suspended", "offline", "dead", "logged-out"] as const;
export type Kind = (typeof KINDS)[number];

interface Owned {
  readonly user: string;
  readonly fromMs: number;
  toMs: number;
}

export class Phone {
  readonly installationId: string;
  readonly token: string;
  readonly kind: Kind;
  /** Who had it, and when: from the answer to the registration to the question that ended it. */
  readonly owners: Owned[] = [];
  /** Events that were on its screen. */
  readonly shown = new Set<string>();
  readonly #url: string;
  #socket: Socket | undefined;

  constructor(url: string, installationId: string, kind: Kind) {
    this.#url = url;
    this.installationId = installationId;
    this.token = `token-${installationId}`;
    this.kind = kind;
  }

  get owner(): string {
    return this.owners.at(-1)?.user ?? "";
  }

  async register(user: string): Promise<void> {
    this.#end();
    await insist(`${this.installationId} to be registered`, () =>
      api(this.#url).put(
        `/api/devices/${this.installationId}`,
        { token: this.token, platform: "android" },
        { "x-carillon-user": user },
      ),
    );
    this.owners.push({ user, fromMs: Date.now(), toMs: Number.POSITIVE_INFINITY });
  }

  async logOut(): Promise<void> {
    const user = this.owner;
    this.#end();
    await insist(`${this.installationId} to be forgotten`, () =>
      api(this.#url).delete(`/api/devices/${this.installationId}`, undefined, { "x-carillon-user": user }),
    );
    this.owners.push({ user: "", fromMs: Date.now(), toMs: Number.POSITIVE_INFINITY });
  }

  /** Connects as its kind does. */
  async wake(): Promise<void> {
    if (!["foreground", "background", "suspended"].includes(this.kind)) return;
    const auth = { user: this.owner, installationId: this.installationId };
    const socket = io(`${this.#url}/notifications`, {
      forceNew: true,
      transports: ["websocket"],
      reconnectionDelay: 100,
      reconnectionDelayMax: 1000,
      auth,
    });
    this.#socket = socket;
    socket.on("connect", () => socket.emit("state", { foreground: this.kind !== "background" }));
    socket.on("refresh", ({ payload }: { payload?: { eventId?: string } }) => {
      if (this.kind !== "foreground" || payload?.eventId === undefined) return;
      this.shown.add(payload.eventId);
      socket.emit("seen", { ids: [payload.eventId] });
    });
    await waitFor(() => socket.connected, { what: `${this.installationId} to connect`, timeoutMs: 60_000 });
    if (this.kind === "suspended") rawSocket(socket)?.pause();
  }

  close(): void {
    rawSocket(this.#socket)?.destroy();
    this.#socket?.disconnect();
  }

  #end(): void {
    const last = this.owners.at(-1);
    if (last !== undefined) last.toMs = Date.now();
  }
}

/** Asks until it is answered well. */
export async function insist<T extends { status: number }>(what: string, ask: () => Promise<T>): Promise<T> {
  return waitFor(
    async () => {
      const answer = await ask();
      return answer.status < 300 && answer;
    },
    { what, timeoutMs: 90_000, everyMs: 200 },
  );
}

function rawSocket(socket: Socket | undefined): { pause(): void; destroy(): void } | undefined {
  const { engine } = (socket?.io ?? {}) as unknown as {
    engine?: { transport?: { ws?: { _socket?: { pause(): void; destroy(): void } } } };
  };
  return engine?.transport?.ws?._socket;
}

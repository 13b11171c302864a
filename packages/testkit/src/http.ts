export interface Answer {
  status: number;
  headers: Headers;
  text: string;
  /** The JSON in `text`; undefined when it is none. */
  // biome-ignore lint/suspicious/noExplicitAny: a test says what it expects
  body: any;
}

type Send = (path: string, body?: unknown, headers?: Record<string, string>) => Promise<Answer>;

export interface Api {
  get(path: string, headers?: Record<string, string>): Promise<Answer>;
  post: Send;
  put: Send;
  delete: Send;
  /** Any method, and a body sent as it is: for what is not JSON, and for JSON whose exact text matters. */
  raw(method: string, path: string, body?: string | Uint8Array, headers?: Record<string, string>): Promise<Answer>;
}

/** HTTP as a test wants it: every status is an answer, and no answer within 30 s is an error. */
export function api(url: string, defaults: Record<string, string> = {}): Api {
  const raw: Api["raw"] = async (method, path, body, headers = {}) => {
    const response = await fetch(new URL(path, url), {
      method,
      headers: { ...defaults, ...headers },
      ...(body !== undefined && { body: body as string }),
      redirect: "manual",
      signal: AbortSignal.timeout(30_000),
    });
    const text = await response.text();
    return { status: response.status, headers: response.headers, text, body: parsed(text) };
  };
  const send =
    (method: string): Send =>
    (path, body, headers = {}) =>
      body === undefined
        ? raw(method, path, undefined, headers)
        : raw(method, path, JSON.stringify(body), { "content-type": "application/json", ...headers });
  return {
    get: (path, headers) => raw("GET", path, undefined, headers),
    post: send("POST"),
    put: send("PUT"),
    delete: send("DELETE"),
    raw,
  };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Nodes that check who asks, and what clients of theirs need. */
import { api, type Client, type ConnectOptions, connect, NodeServer, sumOf } from "@carillon/testkit";
import { SECRET, sign } from "../../auth/kit.ts";

export const OPERATOR = { authorization: "Bearer ops-secret" };
export const SERVER = { authorization: "Bearer web-secret" };
export const GUARDED = {
  AUTH: "on",
  JWT_SECRET: SECRET,
  API_KEYS: "web:web-secret,ops:ops-secret:operate,chat:chat-secret:publish:chat+refresh:trips",
  OPERATOR_ROLE: "ops",
  NAMESPACE_ROLES: "users=admin|manager",
  OPEN_CHANNELS: "news",
  COALESCE_MS: "0",
} as const;

export async function startGuarded(env: Record<string, string> = {}): Promise<NodeServer> {
  const node = new NodeServer({ ...GUARDED, ...env });
  await node.start();
  return node;
}

/** As `node.metric`, of a node that shows its metrics to operators only. */
export async function figure(node: NodeServer, name: string, labels: Record<string, string> = {}): Promise<number> {
  return sumOf((await api(node.url).get("/metrics", OPERATOR)).text, name, labels);
}

/** A stock client with a token of these claims. */
export async function connectAs(
  url: string,
  namespace: string,
  claims: Record<string, unknown>,
  options: ConnectOptions = {},
): Promise<Client> {
  return connectWith(url, namespace, { token: await sign(claims) }, options);
}

export function connectWith(url: string, namespace: string, auth: object, options: ConnectOptions = {}): Client {
  return connect(url, namespace, {
    transports: ["websocket"],
    reconnectionDelay: 50,
    reconnectionDelayMax: 300,
    auth: auth as Record<string, unknown>,
    ...options,
  });
}

/** The code with which a namespace refused its client, or what happened instead. */
export function outcome(client: Client): Promise<string> {
  return client.ready.then(
    () => "connected",
    (error: Error & { data?: { code?: string } }) => error.data?.code ?? `without a code: ${error.message}`,
  );
}

export async function publish(url: string, channel: string, payload: unknown): Promise<string> {
  const answer = await api(url).post(`/api/notifications/${channel}`, payload, SERVER);
  if (answer.status !== 202) throw new Error(`answered ${answer.status}: ${answer.text}`);
  return answer.body.id;
}

export async function refreshAll(url: string, namespace: string, scope: string, more: object = {}): Promise<string> {
  const answer = await api(url).post(`/api/refresh/${namespace}`, { scope, ...more }, SERVER);
  if (answer.status !== 202) throw new Error(`answered ${answer.status}: ${answer.text}`);
  return answer.body.id;
}

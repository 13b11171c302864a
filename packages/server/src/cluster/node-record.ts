/** What a node says about itself: in the cluster's roster, and in the answer of `GET /api/nodes`. */
import { readJson } from "@carillon/protocol";
import { z } from "zod";

const count = z.number().meta({ type: "integer" });
const counts = z.record(z.string(), count);
const time = z.string().meta({ format: "date-time" });

export const nodeRecord = z.object({
  name: z.string().meta({ description: "As in `ready` and in logs; another one at each start" }),
  host: z.string(),
  version: z.string(),
  startedAt: time,
  reportedAt: time.meta({ description: "When it last said all this" }),
  roles: z.array(z.string()),
  state: z.enum(["starting", "ready", "draining"]),
  readiness: z.enum(["ok", "degraded", "down"]),
  problems: z.record(z.string(), z.string()).meta({ description: "Why it is not `ok`, by check" }),
  transports: counts.meta({ description: "Open transports by kind" }),
  connections: counts.meta({ description: "Connections by namespace" }),
  users: count.meta({ description: "Users with a client here" }),
  position: z
    .string()
    .nullable()
    .meta({ description: "The id up to which it is whole; null until it reached the log" }),
  behind: count.meta({ description: "Publications that it knows of and has not delivered" }),
  leases: z.array(z.string()).meta({ description: "`bridge`: it reads Postgres; `redis-ingress`: the Redis channels" }),
  eventLoopLagMs: z.object({ p99: z.number(), max: z.number() }).meta({ description: "In the last seconds" }),
  memory: z.object({ rssBytes: count, heapUsedBytes: count }),
  totals: z
    .object({ publications: count, deliveries: count, gapsTold: count })
    .meta({ description: "Since its start, by this node; the difference of two answers is a rate" }),
});

export type NodeRecord = z.infer<typeof nodeRecord>;

/** `undefined` for the record of a version that says something else. */
export function parseNodeRecord(text: string): NodeRecord | undefined {
  return nodeRecord.safeParse(readJson(text)).data;
}

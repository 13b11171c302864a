export { type Certificate, certificateIn } from "./certificate.ts";
export { type Client, type ConnectOptions, connect, type RecordedEvent } from "./clients.ts";
export { type Cluster, type StartClusterOptions, startCluster } from "./cluster.ts";
export type { FcmAnswerName } from "./fcm/answers.ts";
export { type FcmBehaviour, type FcmRequest, FcmServer, startFcm } from "./fcm/server.ts";
export { type Answer, type Api, api } from "./http.ts";
export { type Inspector, inspect } from "./inspector.ts";
export { type NginxServer, startNginx } from "./nginx.ts";
export { type LogLine, NodeServer, startNode, sumOf } from "./node.ts";
export { type PgBouncerServer, startPgBouncer } from "./pgbouncer.ts";
export { freePort, isFree } from "./ports.ts";
export {
  connectSql,
  createDatabase,
  createTemplate,
  databaseUrl,
  type PostgresServer,
  queryAt,
  type StartPostgresOptions,
  startPostgres,
} from "./postgres.ts";
export { postgresBin } from "./postgres-binaries.ts";
export { type Exit, Service, type ServiceSpec } from "./processes.ts";
export { type NetworkProxy, startProxy } from "./proxy.ts";
export { type RedisServer, type StartRedisOptions, startRedis } from "./redis.ts";
export { type RedisCluster, type RedisSentinels, startRedisCluster, startSentinel } from "./redis-groups.ts";
export { sharedDatabase, sharedPostgres, sharedRedis } from "./shared.ts";
export { tempDir } from "./temp.ts";
export { isReachable, reachableFallback, unprivilegedUser } from "./unprivileged.ts";
export { type WaitOptions, waitFor } from "./wait.ts";

/** nginx in front of the nodes, as one would set it up for Socket.IO: WebSockets pass, and polling sticks to its node. */
import { tempDir } from "@carillon/testkit";

/** How long old workers keep their connections after a reload; then these are cut, as in production sooner or later. */
const workerShutdownTimeout = "3s";
/** Small, so that a client which does not read is felt by its node before the kernel has buffered megabytes. */
const sendBuffer = "128k";

export function balancer(dir = tempDir("chaos-nginx")): (port: number, nodePorts: readonly number[]) => string {
  const temp = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((name) => `${name}_temp_path ${dir}/${name};`);
  return (port, nodePorts) => `
${process.getuid?.() === 0 ? "user root;" : ""}
worker_processes 1;
worker_shutdown_timeout ${workerShutdownTimeout};
events { worker_connections 8192; }
http {
access_log off;
${temp.join("\n")}
map $http_upgrade $connection_upgrade { default upgrade; "" ""; }
map $arg_client $stick { "" $request_id; default $arg_client; }
upstream nodes {
  hash $stick consistent;
  ${nodePorts.map((nodePort) => `server 127.0.0.1:${nodePort} max_fails=1 fail_timeout=1s;`).join("\n  ")}
}
server {
  listen 127.0.0.1:${port} backlog=4096 sndbuf=${sendBuffer};
  client_max_body_size 16m;
  location / {
    proxy_pass http://nodes;
    proxy_http_version 1.1;
    proxy_set_header Host $http_host;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection $connection_upgrade;
    proxy_buffering off;
    proxy_connect_timeout 2s;
    proxy_read_timeout 1h;
    proxy_send_timeout 1h;
  }
}
}`;
}

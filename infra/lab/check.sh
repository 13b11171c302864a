#!/usr/bin/env bash
# Builds the image, starts `docker compose up --scale api=3` and has check.ts try it out, under a project name and a port of its own.
# Where no container engine can run it says so and is content: the code is not to blame.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

LAB_STATE=$(mktemp -d)
export LAB_STATE DOCKER_BUILDKIT=0
export COMPOSE_PROJECT_NAME=carillon-check-$$ CARILLON_IMAGE=carillon:check-$$ PUBLISH=127.0.0.1:0

finish() {
    local status=$?
    [ $status = 0 ] || docker compose logs --no-color --tail 30 2>/dev/null || true
    docker compose down --volumes --timeout 5 >/dev/null 2>&1 || true
    docker rmi "$CARILLON_IMAGE" "$CARILLON_IMAGE-next" >/dev/null 2>&1 || true
    bash infra/lab/lab.sh stop 2>/dev/null || true
    rm -rf --one-file-system "$LAB_STATE"
    exit $status
}
trap finish EXIT

status=0
bash infra/lab/lab.sh up || status=$?
if [ $status = 77 ]; then
    echo 'compose: SKIPPED, no container engine can run on this machine (see above)'
    exit 0
fi
[ $status = 0 ] || exit $status

quietly() { "$@" >"$LAB_STATE/output" 2>&1 || { tail -n 40 "$LAB_STATE/output" >&2; return 1; }; }
quietly docker compose --profile observability config
quietly docker compose build
quietly docker compose up --detach --wait --scale api=3
echo "compose: three nodes are up (${SECONDS} s)"

mkdir -p "$LAB_STATE/tls"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost \
    -keyout "$LAB_STATE/tls/privkey.pem" -out "$LAB_STATE/tls/fullchain.pem" 2>/dev/null
chmod 755 "$LAB_STATE" "$LAB_STATE/tls"
chmod 644 "$LAB_STATE/tls/privkey.pem"
export TLS_CERTIFICATES=$LAB_STATE/tls PUBLISH_TLS=127.0.0.1:0
quietly docker compose -f docker-compose.yml -f infra/nginx/docker-compose.tls.yml up --detach --wait --no-deps nginx
tls_port=$(docker compose -f docker-compose.yml -f infra/nginx/docker-compose.tls.yml port nginx 8443)
node scripts/run.mjs infra/lab/check-tls.ts "${tls_port##*:}" "$TLS_CERTIFICATES/fullchain.pem"
quietly docker compose up --detach --wait --no-deps nginx

node scripts/run.mjs infra/lab/check.ts

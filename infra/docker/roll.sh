#!/usr/bin/env bash
# Rolls a new image out under `docker compose` without refusing a client: as many new nodes beside the old ones, then the old ones
# leave one by one, each draining. Compose alone would stop every old node at once.
#
#   CARILLON_IMAGE=carillon:2 infra/docker/roll.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

mapfile -t old < <(docker compose ps -q api)
[ ${#old[@]} -gt 0 ] || { echo 'No node is running: docker compose up' >&2; exit 1; }
docker compose up --detach --wait --no-deps --no-recreate --scale "api=$((2 * ${#old[@]}))" api
for node in "${old[@]}"; do
    docker stop "$node" >/dev/null # the grace period is the container's own
    [ "$(docker inspect -f '{{.State.ExitCode}}' "$node")" = 0 ] || echo "$node did not drain in time" >&2
    docker rm "$node" >/dev/null
done
echo "${#old[@]} nodes replaced"

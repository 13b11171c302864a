#!/usr/bin/env bash
# A container engine, Compose and the images that docker-compose.yml names, on a Debian machine that reaches Debian's packages and
# the npm registry but no registry of images. What is here already is used as it is. The images are stand-ins for the real ones:
# the same programs and versions, as much of their entrypoints as our compose file needs.
#
#   infra/lab/lab.sh up      exit code 77: no engine can run on this machine; anything else but 0: something failed
#   infra/lab/lab.sh stop    stops the dockerd that `up` started, and no other
#
# LAB_STATE: folder for logs, the pid file and what is being built (default: carillon-lab in the temporary folder).
set -euo pipefail
export LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive DOCKER_BUILDKIT=0

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
STATE=${LAB_STATE:-${TMPDIR:-/tmp}/carillon-lab}
SUITE=trixie    # of the images; its Compose runs on Debian 12 too, which has none of version 2
NGINX_SUITE=forky # the first with an nginx that has `sticky` and `server … resolve`
NODE_IMAGE=node:24-trixie-slim POSTGRES_IMAGE=postgres:17 REDIS_IMAGE=redis:8 NGINX_IMAGE=nginx:1.30

say() { printf 'lab: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
cannot() { say "no container engine can run here: $*"; exit 77; }
answers() { docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }

up() {
    mkdir -p "$STATE"
    if ! answers; then install_engine; start_engine; fi
    docker compose version >/dev/null 2>&1 || install_compose
    say "engine $(docker version --format '{{.Server.Version}}'), Compose $(docker compose version --short)"
    build_images
}

# ------------------------------------------------------------------------------------------------------------ engine
install_engine() {
    command -v dockerd >/dev/null && return
    [ "$(id -u)" = 0 ] || cannot 'there is none, and only root could install and start one'
    grep -qs '^ID=debian$' /etc/os-release || cannot 'there is none, and this installs one on Debian only'
    packages docker.io iptables cgroupfs-mount procps || cannot 'apt could not install docker.io'
}

start_engine() {
    [ "$(id -u)" = 0 ] || cannot 'none is running, and only root could start one'
    grep -q ' cgroup2\? ' /proc/mounts || cgroupfs-mount || true
    # A dockerd that was killed leaves its pid file behind, and the next one refuses to start once some program has that pid.
    local left=/var/run/docker.pid pid
    [ ! -f "$left" ] || [ "$(cat "/proc/$(cat "$left")/comm" 2>/dev/null)" = dockerd ] || rm -f "$left"
    setsid dockerd >"$STATE/dockerd.log" 2>&1 </dev/null &
    pid=$!
    for _ in $(seq 120); do
        answers && break
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.5
    done
    answers || { kill "$pid" 2>/dev/null || true; tail -n 5 "$STATE/dockerd.log" >&2; cannot 'dockerd does not start'; }
    echo "$pid" >"$STATE/dockerd.pid"
}

stop() {
    local pid
    pid=$(cat "$STATE/dockerd.pid" 2>/dev/null) || { say 'no dockerd of ours is running'; return; }
    rm "$STATE/dockerd.pid"
    [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = dockerd ] || return 0
    kill "$pid"
    for _ in $(seq 120); do [ -d "/proc/$pid" ] || return 0; sleep 0.5; done
    die "dockerd ($pid) is still stopping after 60 s"
}

packages() {
    dpkg -s "$@" >/dev/null 2>&1 && return
    say "installing $*"
    apt-get -qq -o DPkg::Lock::Timeout=300 update >&2 && apt-get -qq -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "$@" >&2 </dev/null
}

# The plugin alone, from package lists of our own: no source is added to the machine, and nothing else on it is upgraded.
install_compose() {
    local dir=$STATE/apt
    mkdir -p "$dir"/{lists,archives}/partial
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $(mirror) $SUITE main" >"$dir/sources.list"
    local options=(-o Dir::Etc::sourcelist="$dir/sources.list" -o Dir::Etc::sourceparts=- -o Dir::State::lists="$dir/lists"
                   -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o APT::Sandbox::User=root)
    say "installing docker-compose of Debian $SUITE"
    apt-get -qq "${options[@]}" update >&2
    (cd "$dir/archives" && apt-get -qq "${options[@]}" download docker-compose >&2)
    dpkg -i "$dir"/archives/*.deb >&2 </dev/null
    docker compose version >/dev/null || die 'the Compose plugin does not run'
}

# The Debian mirror that this machine is set up to use.
mirror() {
    local found
    # shellcheck disable=SC2016
    found=$(apt-get indextargets --format '$(LABEL) $(REPO_URI)' 'Identifier: Packages' | awk '$1 == "Debian" { print $2; exit }')
    echo "${found:-http://deb.debian.org/debian}"
}

# ------------------------------------------------------------------------------------------------------------ images
build_images() {
    local image role log jobs=() missing=()
    for role in NODE POSTGRES REDIS NGINX; do
        image=${role}_IMAGE
        is_there "${!image}" || missing+=("$role")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    [ "$(id -u)" = 0 ] || die "images are missing, cannot be pulled, and building stand-ins needs root: ${missing[*]}"
    packages debootstrap ca-certificates
    build_base
    for role in "${missing[@]}"; do
        image=${role}_IMAGE
        (build "$role" "${!image}") >"$STATE/$role.log" 2>&1 &
        jobs+=("$!:$role")
    done
    for role in "${jobs[@]}"; do
        log=$STATE/${role#*:}.log
        wait "${role%%:*}" || { tail -n 30 "$log" >&2; die "building an image failed: $log"; }
    done
    say "built in ${SECONDS} s: ${missing[*]}"
}

# What these stand-ins are made from. The certificates count: a machine that comes back may have new ones, and npm in an image with
# the old ones would fail.
recipe() { cat "${BASH_SOURCE[0]}" /etc/ssl/certs/ca-certificates.crt "$ROOT/package.json" 2>/dev/null | sha256sum | cut -c1-16; }

is_there() {
    local made
    if made=$(docker image inspect --format '{{index .Config.Labels "carillon.lab"}}' "$1" 2>/dev/null); then
        [ -z "$made" ] || [ "$made" = "$(recipe)" ] # somebody else's image is left alone
    else
        timeout 30 docker pull --quiet "$1" >/dev/null 2>&1
    fi
}

# Debian as its `-slim` images are, with this machine's certificates and its way to the archive.
build_base() {
    local root=$STATE/root
    rm -rf --one-file-system "$root"
    local script=/usr/share/debootstrap/scripts/$SUITE
    [ -e "$script" ] || script=/usr/share/debootstrap/scripts/sid
    debootstrap --variant=minbase "$SUITE" "$root" "$(mirror)" "$script" >"$STATE/base.log" 2>&1 || { tail "$STATE/base.log" >&2; die 'debootstrap failed'; }
    apt-config dump | grep -E '^Acquire::(https?::Proxy|Check-)' >"$root/etc/apt/apt.conf.d/90lab" || true
    printf 'APT::Install-Recommends "false";\nAcquire::Languages "none";\n' >"$root/etc/apt/apt.conf.d/91lab"
    printf 'force-unsafe-io\npath-exclude /usr/share/doc/*\npath-exclude /usr/share/man/*\npath-exclude /usr/share/locale/*\n' >"$root/etc/dpkg/dpkg.cfg.d/lab"
    printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
    chmod 755 "$root/usr/sbin/policy-rc.d"
    rm -rf "$root"/usr/share/{doc,man,locale}/* "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/etc/{hostname,resolv.conf}
    mkdir -p "$root/etc/ssl/certs"
    cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
    tar -C "$root" --numeric-owner --one-file-system -c . | docker import - carillon-lab/debian >/dev/null
    rm -rf --one-file-system "$root"
}

build() {
    local context=$STATE/$1 proxy arguments=()
    rm -rf "$context"
    mkdir -p "$context"
    "files_$1" "$context" >"$context/Dockerfile"
    for proxy in http_proxy https_proxy no_proxy; do [ -z "${!proxy-}" ] || arguments+=(--build-arg "$proxy=${!proxy}"); done
    docker build --force-rm "${arguments[@]}" --label "carillon.lab=$(recipe)" --tag "$2" "$context"
}

# The Node that the project pins, as the npm registry has it.
files_NODE() {
    local version arch to=$1/usr/local
    version=$(sed -n 's/.*"node": "\([0-9.]*\)".*/\1/p' "$ROOT/package.json")
    case $(uname -m) in x86_64) arch=x64 ;; aarch64) arch=arm64 ;; *) die "no Node for $(uname -m)" ;; esac
    mkdir -p "$1/npm" "$to/bin" "$to/lib"
    echo '{"private":true}' >"$1/npm/package.json"
    (cd "$1/npm" && npm install --ignore-scripts --no-audit --no-fund --no-package-lock "node-linux-$arch@$version" npm@11 >&2)
    cp "$1/npm/node_modules/node-linux-$arch/bin/node" "$to/bin/"
    mkdir "$to/lib/node_modules" && mv "$1/npm/node_modules/npm" "$to/lib/node_modules/"
    ln -s ../lib/node_modules/npm/bin/npm-cli.js "$to/bin/npm"
    ln -s ../lib/node_modules/npm/bin/npx-cli.js "$to/bin/npx"
    rm -r "$1/npm"
    chmod -R go+rX "$to"
    cat <<-'EOF'
	FROM carillon-lab/debian
	COPY usr/local/ /usr/local/
	RUN groupadd -g 1000 node && useradd -u 1000 -g node -m node && node --version && npm --version
	ENV NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt
	CMD ["node"]
	EOF
}

files_REDIS() {
    cat <<-'EOF'
	FROM carillon-lab/debian
	RUN groupadd -r -g 999 redis && useradd -r -u 999 -g redis redis \
	 && apt-get update && apt-get install -y redis-server && apt-get clean && rm -rf /var/lib/apt/lists/* /etc/redis \
	 && echo 'protected-mode no' >/etc/redis.conf && install -d -o redis -g redis /data \
	 && printf '#!/bin/sh\n[ "$1" != redis-server ] || { shift; set -- redis-server /etc/redis.conf "$@"; }\nexec "$@"\n' >/entrypoint.sh && chmod 755 /entrypoint.sh
	WORKDIR /data
	VOLUME /data
	ENTRYPOINT ["/entrypoint.sh"]
	CMD ["redis-server"]
	EOF
}

files_NGINX() {
    cat <<-EOF
	FROM carillon-lab/debian
	RUN echo 'deb $(mirror) $NGINX_SUITE main' >/etc/apt/sources.list.d/new.list \\
	 && printf 'Package: *\nPin: release n=$NGINX_SUITE\nPin-Priority: 100\n' >/etc/apt/preferences.d/new \\
	 && groupadd -r -g 101 nginx && useradd -r -u 101 -g nginx nginx \\
	 && apt-get update && apt-get install -y curl && apt-get install -y -t $NGINX_SUITE nginx \\
	 && apt-get clean && rm -rf /var/lib/apt/lists/* /etc/apt/sources.list.d/new.list /etc/apt/preferences.d/new
	STOPSIGNAL SIGQUIT
	CMD ["nginx", "-g", "daemon off;"]
	EOF
}

files_POSTGRES() {
    cat >"$1/entrypoint.sh" <<-'EOF'
	#!/bin/bash
	set -euo pipefail
	[ "${1-}" = postgres ] || exec "$@"
	if [ ! -s "$PGDATA/PG_VERSION" ]; then
	    initdb --username="$POSTGRES_USER" --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD") >/dev/null
	    echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
	    pg_ctl -D "$PGDATA" -o "-c listen_addresses=''" -w start
	    [ "$POSTGRES_DB" = postgres ] || createdb --username="$POSTGRES_USER" --maintenance-db=postgres "$POSTGRES_DB"
	    pg_ctl -D "$PGDATA" -m fast -w stop
	fi
	exec "$@" -c listen_addresses='*'
	EOF
    chmod 755 "$1/entrypoint.sh"
    cat <<-'EOF'
	FROM carillon-lab/debian
	RUN groupadd -r -g 999 postgres && useradd -r -u 999 -g postgres -d /var/lib/postgresql postgres \
	 && mkdir -p /etc/postgresql-common && echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf \
	 && apt-get update && apt-get install -y postgresql-17 && apt-get clean && rm -rf /var/lib/apt/lists/* \
	 && install -d -o postgres -g postgres -m 0700 /var/lib/postgresql/data && install -d -o postgres -g postgres /run/postgresql
	COPY entrypoint.sh /
	ENV LANG=C.UTF-8 PGDATA=/var/lib/postgresql/data PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/postgresql/17/bin
	VOLUME /var/lib/postgresql/data
	STOPSIGNAL SIGINT
	ENTRYPOINT ["/entrypoint.sh"]
	CMD ["postgres"]
	EOF
}

case ${1-} in
    up) up ;;
    stop) stop ;;
    *) sed -n '2,/^set -e/{/^set/d;s/^# \{0,1\}//;p}' "$0"; exit 2 ;;
esac

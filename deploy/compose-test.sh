#!/usr/bin/env bash
# Runs docker-compose.yml as its users do and checks what it promises.
#
# Exit codes: 0 all well, or skipped because there is no Docker engine; 1 a
# promise is broken. Everything has names of its own and is removed at the end.
# Where a base image can be neither found nor pulled, a stand-in made from this
# machine's files is used for the length of the test.

set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "$0")/.."

readonly names=503 batch=names uid=65532
readonly project="harvest-test-$$"
work=$(mktemp -d)
stand_ins=()
image=

say() { printf '%s\n' "$*" >&2; }
fail() { say "FAIL: $*"; exit 1; }
skip() { say "skipped: $*"; exit 0; }

# check WHAT GOT WANT
check() {
  [[ $2 == "$3" ]] || fail "$1: got ${2:-nothing}, want $3"
  say "ok: $1: $3"
}

# within SECONDS COMMAND...: one that hangs fails.
within() { timeout --foreground "$@"; }

find_engine() {
  command -v docker >"$work/which" || skip "docker is not installed"
  command -v curl >"$work/which" || skip "curl is not installed"
  within 20 docker version >"$work/version" 2>&1 || skip "no Docker engine answers: $(tail -n 1 "$work/version")"
  if docker compose version >"$work/which" 2>&1; then
    compose=(docker compose)
  elif command -v docker-compose >"$work/which"; then
    compose=(docker-compose)
  else
    skip "neither docker compose nor docker-compose is installed"
  fi
  # Neither an .env nor an override file of the user's is to be tested.
  compose+=(--env-file "$work/env" --project-name "$project" --project-directory . --file docker-compose.yml)
}

# have IMAGE: it is there, or can be pulled.
have() {
  docker image inspect "$1" >"$work/inspect" 2>&1 || within 300 docker pull --quiet "$1" >"$work/pull" 2>&1
}

# put FOLDER FILE...: copies programs and files with the libraries they need.
put() {
  local folder=$1 file lib
  shift
  for file; do
    mkdir -p "$folder$(dirname "$file")"
    cp -L "$file" "$folder$file"
    while read -r lib; do
      mkdir -p "$folder$(dirname "$lib")"
      cp -L "$lib" "$folder$lib"
    done < <(ldd "$file" 2>"$work/ldd" | grep -o '/[^ ]*')
  done
}

# stand_in IMAGE FOLDER CHANGE...: makes an image of the files in a folder.
stand_in() {
  local name=$1 folder=$2 changes=()
  shift 2
  for change; do changes+=(--change "$change"); done
  tar -C "$folder" --numeric-owner --owner 0 --group 0 -c . | docker import "${changes[@]}" - "$name" >"$work/import"
  stand_ins+=("$name")
  rm -rf "$folder"
  say "$name cannot be pulled: a stand-in is used"
}

# go_image has the toolchain, a shell, and the modules as a proxy would serve
# them, for builds have no network here.
go_image() {
  local name=golang:1.26-bookworm folder=$work/go root file cache
  have "$name" && return
  command -v go >"$work/which" || skip "$name can be neither pulled nor replaced: Go is not installed"
  root=$(go env GOROOT) cache=$(go env GOMODCACHE)/cache/download
  put "$folder" "$(command -v sh)" "$(command -v mkdir)" /etc/ssl/certs/ca-certificates.crt
  mkdir -p "$folder"/{bin,tmp,usr/local/go,go/proxy}
  cp -L "$folder$(command -v sh)" "$folder/bin/sh"
  cp -R "$root"/{bin,pkg,src,go.env,VERSION} "$folder/usr/local/go"
  go mod download -json >"$work/modules" || fail "the modules cannot be downloaded"
  {
    find "$cache" -name '*.mod' # those of modules that are not built are read too
    sed -nE 's/^\t"(Info|Zip)": "(.*)",?$/\2/p' "$work/modules"
  } | while read -r file; do
    mkdir -p "$folder/go/proxy$(dirname "${file#"$cache"}")"
    cp "$file" "$folder/go/proxy${file#"$cache"}"
  done
  stand_in "$name" "$folder" "ENV PATH=/usr/local/go/bin:/usr/bin:/bin GOPATH=/go GOTOOLCHAIN=local GOPROXY=file:///go/proxy GONOSUMDB=*"
}

redis_image() {
  local name=redis:7-bookworm folder=$work/redis
  have "$name" && return
  command -v redis-server >"$work/which" || skip "$name can be neither pulled nor replaced: redis-server is not installed"
  put "$folder" "$(command -v redis-server)" "$(command -v redis-cli)"
  mkdir -p "$folder"/{data,tmp}
  stand_in "$name" "$folder" "ENV PATH=/usr/local/bin:/usr/bin:/bin" "WORKDIR /data" "CMD [\"redis-server\"]"
}

# remove_image IMAGE: removes it with all that was built on it.
remove_image() {
  local id child
  id=$(docker image inspect --format '{{.Id}}' "$1") || return 0
  # A build that failed leaves its last container.
  for child in $(docker ps --all --quiet --filter "ancestor=$id"); do docker rm --force "$child" >>"$work/rmi"; done
  for child in $(docker images --all --quiet --no-trunc --filter "since=$1"); do
    if docker history --quiet --no-trunc "$child" 2>&1 | grep -qF "$id"; then
      docker rmi --force "$child" >>"$work/rmi" 2>&1 || true # gone with another one
    fi
  done
  docker rmi --force "$1" >>"$work/rmi" 2>&1 || say "cannot remove the image $1"
}

clean_up() {
  local code=$?
  set +e
  trap - EXIT
  trap '' INT TERM
  if [[ -n ${compose+set} && -n $image ]]; then
    if ((code != 0)); then
      "${compose[@]}" --profile demo --profile tools logs --tail 30 >&2 || true
    fi
    "${compose[@]}" --profile demo --profile tools down --volumes --remove-orphans --timeout 5 >"$work/down" 2>&1 ||
      { cat "$work/down" >&2; code=1; }
    if docker image inspect "$image" >"$work/inspect" 2>&1; then remove_image "$image"; fi
    for name in "${stand_ins[@]}"; do remove_image "$name"; done
  fi
  rm -rf "$work"
  exit "$code"
}

# make_names writes the three people of the demo and 500 made-up ones.
make_names() { docker run --rm --network none "$image" demo-server --people 500 --names; }

# harvest ARGS...: a command beside the workers. It must not read the script.
harvest() { within 120 "${compose[@]}" run --rm -T harvest "$@" </dev/null 2>"$work/stderr" || { cat "$work/stderr" >&2; return 1; }; }

# enqueue BATCH <NAMES: as docs/compose.md has it.
enqueue() {
  within 120 "${compose[@]}" run --rm -T enqueue --file - --batch "$1" 2>"$work/enqueue" ||
    { cat "$work/enqueue" >&2; fail "enqueue"; }
}

# number KEY <JSON: the number of a key that stands there once.
number() { grep -o "\"$1\":[0-9]*" | cut -d: -f2; }

redis_says() { docker exec "$redis" redis-cli config get "$1" | tail -n 1; }

start() {
  "${compose[@]}" --profile demo up -d --scale worker=3 >"$work/up" 2>&1 || { cat "$work/up" >&2; fail "up"; }
  mapfile -t workers < <("${compose[@]}" ps -q worker)
  redis=$("${compose[@]}" ps -q redis)
  serve=$("${compose[@]}" ps -q serve)
  check "workers" "${#workers[@]}" 3
}

check_image() {
  check "user of the image" "$(docker image inspect --format '{{.Config.User}}' "$image")" "$uid:$uid"
  local size
  size=$(docker image inspect --format '{{.Size}}' "$image")
  ((size < 60000000)) || fail "the image has $size bytes"
  say "ok: image of $((size / 1000000)) MB"
  docker run --rm --network none "$image" --version >"$work/out" || fail "--version"
  check "version" "$(cat "$work/out")" "harvest version $project"
}

# check_ready waits until every worker is healthy, which is /readyz's word.
check_ready() {
  local id tries state
  for id in "${workers[@]}"; do
    for ((tries = 0; tries < 60; tries++)); do
      state=$(docker inspect --format '{{.State.Health.Status}}' "$id")
      [[ $state == starting ]] || break
      sleep 1
    done
    check "health of worker ${id:0:12}" "$state" healthy
  done
  docker exec "${workers[0]}" harvest health >"$work/health" || fail "harvest health: $(cat "$work/health")"
  check "its checks" "$(cut -d: -f1 <"$work/health" | tr '\n' ' ')" "redis store queues "
}

check_redis() {
  check "append-only file" "$(redis_says appendonly)" yes
  check "fsync" "$(redis_says appendfsync)" everysec
  check "eviction" "$(redis_says maxmemory-policy)" noeviction
  check "address of Redis" "$(docker inspect --format '{{range .NetworkSettings.Ports}}{{range .}}{{.HostIp}} {{end}}{{end}}' "$redis")" "127.0.0.1 "
  local id
  for id in "${workers[@]}" "$("${compose[@]}" --profile demo ps -q demo)"; do
    check "ports of ${id:0:12}" "$(docker port "$id")" ""
  done
}

harvest_names() {
  make_names >"$work/names.txt"
  check "names" "$(sort -u "$work/names.txt" | wc -l)" "$names"
  enqueue "$batch" <"$work/names.txt"
  grep -q "$names new" "$work/enqueue" || fail "enqueue says $(cat "$work/enqueue")"
  harvest status "$batch" --watch --json | tail -n 1 >"$work/status"
  grep -q '"finished":true' "$work/status" || fail "status says $(cat "$work/status")"
  check "names done" "$(number done <"$work/status")" "$names"

  enqueue "$batch" <"$work/names.txt"
  grep -q "0 new, $names already done" "$work/enqueue" || fail "enqueue says $(cat "$work/enqueue")"
  grep -q "3 workers are alive" "$work/enqueue" || fail "enqueue says $(cat "$work/enqueue")"
  say "ok: the same names again"
}

check_pictures() {
  docker cp "${workers[0]}:/pictures" - | tar --numeric-owner -tvf - >"$work/files"
  check "pictures in the volume" "$(grep -c "pictures/$batch/.*\.\(jpg\|png\|gif\)\$" "$work/files")" "$names"
  check "owners in the volume" "$(awk '{ print $2 }' "$work/files" | sort -u)" "$uid/$uid"
}

# web PATH [CURL OPTION...]: asks the pages as a browser of this machine would.
web() {
  local path=$1
  shift
  curl --silent --show-error --max-time 20 "$@" "http://localhost:$web_port$path"
}

status() { web "$1" --output "$work/body" --write-out '%{http_code}' "${@:2}"; }

check_pages() {
  check "address of the pages" "$(docker inspect --format '{{range .NetworkSettings.Ports}}{{range .}}{{.HostIp}} {{end}}{{end}}' "$serve")" "127.0.0.1 "
  web_port=$(docker port "$serve" 8080/tcp | cut -d: -f2)
  check "first page" "$(status /)" 200
  web "/api/v1/batches/$batch" >"$work/status"
  check "names done by the API" "$(number done <"$work/status")" "$names"
  check "asynqmon" "$(status /queues/)" 200
  grep -q '<div id="root">' "$work/body" || fail "asynqmon's page is $(head -c 300 "$work/body")"
  web /queues/api/queues >"$work/status"
  grep -q '"lookup-people-express"' "$work/status" || fail "asynqmon knows $(cat "$work/status")"
  check "asynqmon changes nothing" "$(status /queues/api/queues/lookup-people-express:pause --request POST)" 405
  check "a picture" "$(status "/pictures/$batch?name=Brus%20Lee")" 200
  check "a foreign name" "$(status / --header 'Host: evil.example')" 421
  check "a foreign page" "$(status "/api/v1/batches/$batch" --request DELETE --header 'Origin: https://evil.example')" 403
}

# demo ARG...: starts the demo anew with other arguments.
demo() {
  {
    printf 'services:\n  demo:\n    command: [demo-server, --listen, "0.0.0.0:8000"'
    printf ', "%s"' "$@"
    printf ']\n'
  } >"$work/demo.yml"
  "${compose[@]}" --file "$work/demo.yml" --profile demo up -d --no-deps demo >"$work/up" 2>&1 ||
    { cat "$work/up" >&2; fail "up of another demo"; }
}

check_guard() {
  demo --public-url http://redis
  echo "Brus Lee" | enqueue elsewhere
  harvest status elsewhere --watch --json | tail -n 1 >"$work/status"
  grep -q '"refused_address":1' "$work/status" || fail "a picture at a private address: $(cat "$work/status")"
  say "ok: a picture at another private address is refused"
}

# check_drain stops the workers in the middle of a batch.
check_drain() {
  demo --public-url http://demo:8000 --people 1000 --latency 2s
  enqueue slow <"$work/names.txt"
  until harvest status slow --json >"$work/status" && (($(number done <"$work/status") > 0)); do :; done
  "${compose[@]}" stop worker >"$work/stop" 2>&1 || { cat "$work/stop" >&2; fail "stop"; }
  local id
  for id in "${workers[@]}"; do
    check "exit code of worker ${id:0:12}" "$(docker inspect --format '{{.State.ExitCode}}' "$id")" 0
    docker logs "$id" 2>&1 | grep -q "worker stopped" || fail "worker ${id:0:12} did not end in order"
  done
  harvest status slow --json >"$work/status"
  check "a batch that was stopped" "$(grep -o '"finished":[a-z]*' "$work/status")" '"finished":false'
  check "its failures" "$(number failed <"$work/status")" 0
}

check_resume() {
  "${compose[@]}" up -d --scale worker=3 >"$work/up" 2>&1 || { cat "$work/up" >&2; fail "up after stop"; }
  harvest status slow --watch --json | tail -n 1 >"$work/status"
  check "names done after a new start" "$(number done <"$work/status")" "$names"
}

# check_kill kills workers in the middle of a batch, in three ways, and adds
# others: the batch becomes complete. What the dead had in hand runs one by one,
# so it must not take long.
check_kill() {
  demo --public-url http://demo:8000 --people 1000 --latency 700ms
  enqueue killed <"$work/names.txt"
  until harvest status killed --json >"$work/status" && (($(number done <"$work/status") > 0)); do :; done
  docker kill "${workers[1]}" "${workers[2]}" >"$work/kill"
  crash "${workers[0]}"
  "${compose[@]}" up -d --scale worker=5 >"$work/up" 2>&1 || { cat "$work/up" >&2; fail "up with more workers"; }
  mapfile -t workers < <("${compose[@]}" ps -q worker)
  check "workers, two of them new" "${#workers[@]}" 5
  harvest status killed --json >"$work/status"
  check "the batch whose workers were killed" "$(grep -o '"finished":[a-z]*' "$work/status")" '"finished":false'
  harvest status killed --watch --json | tail -n 1 >"$work/status"
  check "names done in spite of it" "$(number done <"$work/status")" "$names"
  docker cp "${workers[0]}:/pictures/killed" - | tar -tf - >"$work/files"
  check "their pictures" "$(grep -c "^killed/.*\.\(jpg\|png\|gif\)\$" "$work/files")" "$names"
  check_ready
}

# crash CONTAINER: lets its first process die as by a defect, where that is a
# process of this machine. It comes back by itself, as a killed container does not.
crash() {
  local pid tries
  pid=$(docker inspect --format '{{.State.Pid}}' "$1")
  if ! grep -qF "$1" "/proc/$pid/cgroup" 2>"$work/crash" || ! kill -KILL "$pid" 2>"$work/crash"; then
    say "not tried: a crash of a worker's process, which is not ours to kill"
    return
  fi
  for ((tries = 0; tries < 60; tries++)); do
    [[ $(docker inspect --format '{{.RestartCount}}' "$1") == 0 ]] || break
    sleep 0.5
  done
  check "starts of ${1:0:12} after its crash" "$(docker inspect --format '{{.RestartCount}} {{.State.Running}}' "$1")" "1 true"
}

check_stop() {
  "${compose[@]}" --profile demo stop >"$work/stop" 2>&1 || { cat "$work/stop" >&2; fail "stop"; }
  local id
  for id in "${workers[@]}" "$serve" "$redis"; do
    check "exit code of ${id:0:12}" "$(docker inspect --format '{{.State.ExitCode}}' "$id")" 0
  done
}

trap clean_up EXIT
trap 'exit 130' INT TERM
: >"$work/env"
for variable in "${!HARVEST_@}"; do unset "$variable"; done
unset GITHUB_TOKEN COMPOSE_FILE COMPOSE_PROFILES COMPOSE_PROJECT_NAME
find_engine
export PICHARVEST_VERSION=$project PICHARVEST_REDIS_PORT=0 PICHARVEST_WEB_PORT=0
image=picharvest/harvest:$project
go_image
redis_image
"${compose[@]}" build worker >"$work/build" 2>&1 || { cat "$work/build" >&2; fail "build"; }
check_image
start
check_redis
check_ready
harvest_names
check_pictures
check_pages
check_guard
check_drain
check_resume
check_kill
check_stop
say "all well"

#!/usr/bin/env bash
# The stores of a development or test run: PostgreSQL, two Redis tiers and a Pub/Sub broker, private to
# this checkout. `stack.sh up [postgres] [redis] [broker]` starts what is not running and answers when
# all of it answers; `down` stops what `up` started; `status` tells; `env` prints the settings file;
# `migrate` runs the migrations' files in a fresh database of it; `clean` stops and deletes.
#
# Settings, all from the environment:
#   STACK_DIR           where data, logs and the settings file stand       (.dev)
#   STACK_PREFIX        where pip puts programs                            (.dev/prefix)
#   STACK_SOURCES       how programs may be found: path apt pip            (path apt pip)
#   STACK_FSYNC         off = a power cut may lose data; for tests         (on)
#   BROKER              google | embedded                                  (google where it is installed)
#   POSTGRES_PORT REDIS_SESSION_PORT REDIS_CACHE_PORT PUBSUB_PORT          (5483 6483 6484 8085; 0 = free)
#   BACKOFFICE_PORT BACKOFFICE_ADMIN_PORT SIMULATOR_PORT                   (8083 9083 8090; 0 = free)
# A server of yours is used, not started, when its URL is set: DATABASE_OWNER_URL with DATABASE_URL,
# REDIS_SESSION_URL, REDIS_CACHE_URL, PUBSUB_EMULATOR_HOST.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=$(cd "$here/../.." && pwd)
# shellcheck source=ops/dev/process.sh
source "$here/process.sh"
# shellcheck source=ops/dev/provide.sh
source "$here/provide.sh"
# shellcheck source=ops/dev/postgres.sh
source "$here/postgres.sh"
# shellcheck source=ops/dev/broker.sh
source "$here/broker.sh"

STACK_DIR=${STACK_DIR:-$repository/.dev}
[[ $STACK_DIR == /* ]] || STACK_DIR=$PWD/$STACK_DIR
STACK_PREFIX=${STACK_PREFIX:-$repository/.dev/prefix}
STACK_SOURCES=${STACK_SOURCES:-path apt pip}
STACK_FSYNC=${STACK_FSYNC:-on}
POSTGRES_PORT=${POSTGRES_PORT:-5483}
REDIS_SESSION_PORT=${REDIS_SESSION_PORT:-6483}
REDIS_CACHE_PORT=${REDIS_CACHE_PORT:-6484}
PUBSUB_PORT=${PUBSUB_PORT:-8085}
BACKOFFICE_PORT=${BACKOFFICE_PORT:-8083}
BACKOFFICE_ADMIN_PORT=${BACKOFFICE_ADMIN_PORT:-9083}
SIMULATOR_PORT=${SIMULATOR_PORT:-8090}
readonly PUBSUB_PROJECT=melmastoon-dev
readonly STARTS_MAX=5
readonly OUTSIDE_HOME=/var/tmp/backoffice-stack

# A shell that has read .dev/env must not make a private stack into "a server of yours".
forget_own_urls() {
  local name value file
  for file in "$repository/.dev/env" "$STACK_DIR/env"; do
    [[ -r $file ]] || continue
    while IFS='=' read -r name value; do
      if [[ ${!name:-} == "$value" ]] && ! grep -q "^# yours:.* $name\b" "$file"; then
        unset "$name"
      fi
    done < <(grep -E '^(DATABASE|REDIS|PUBSUB_EMULATOR)_[A-Z_]+=' "$file")
  done
}

# --- Redis --------------------------------------------------------------------------------------------

# The session tier keeps what may not be evicted; the cache tier evicts what was used longest ago.
start_redis() {
  local tier=$1 setting=$2 port policy
  port=$(choose_port "$setting" "Redis ($tier tier)") || exit 1
  policy=(--maxmemory 256mb --maxmemory-policy allkeys-lru --appendonly no)
  if [[ $tier == session ]]; then
    policy=(--maxmemory 512mb --maxmemory-policy noeviction --appendonly yes)
  fi
  mkdir -p "$STACK_DIR/redis-$tier"
  launch "redis-$tier" "$port" "$STACK_DIR/log/redis-$tier.log" "$redis_server" \
    --port "$port" --bind 127.0.0.1 --dir "$STACK_DIR/redis-$tier" --save '' --daemonize no \
    "${policy[@]}"
  await "redis-$tier" "$STACK_DIR/log/redis-$tier.log" 20 answers_redis "$port"
}

up_redis() {
  local tier=$1 setting=$2
  if ! is_running "redis-$tier"; then
    provide_redis
    retry_on_free_port "${!setting}" start_redis "$tier" "$setting" ||
      die "Redis ($tier tier) did not start"
  fi
  is_running "redis-$tier"
  say "Redis ($tier tier) answers on port $record_port"
}

# --- Commands -----------------------------------------------------------------------------------------

# Between the choice of a free port and its use another program may take it.
retry_on_free_port() {
  local port=$1 tries=1
  shift
  if [[ $port == 0 ]]; then tries=$STARTS_MAX; fi
  for ((; tries > 0; tries--)); do
    if "$@"; then return; fi
  done
  return 1
}

# Prints the recorded port of a program of ours, else what its setting says.
port_of() {
  local name=$1 setting=$2
  if is_running "$name"; then
    printf '%s\n' "$record_port"
  elif [[ ${!setting} == 0 ]]; then
    free_port
  else
    printf '%s\n' "${!setting}"
  fi
}

# The port of a URL's host, for asking whether a server of yours is there.
require_answer() {
  local name=$1 address=${!1#*://} host port
  address=${address##*@}
  address=${address%%/*}
  address=${address%%\?*}
  host=${address%:*}
  port=${address##*:}
  if [[ $port == "$address" ]]; then port=$2; fi
  (exec 3<>"/dev/tcp/$host/$port") 2>/dev/null || die "$name names $host:$port, where nothing answers"
  say "$name is set: using the server at $host:$port"
}

write_settings() {
  local service simulator admin postgres name yours=
  for name in DATABASE_OWNER_URL DATABASE_ADMIN_URL DATABASE_URL REDIS_SESSION_URL REDIS_CACHE_URL \
    PUBSUB_EMULATOR_HOST; do
    if [[ -n ${!name:-} ]]; then yours+=" $name"; fi
  done
  service=$(port_of service BACKOFFICE_PORT)
  admin=$BACKOFFICE_ADMIN_PORT
  if [[ $admin == 0 ]]; then admin=$(free_port); fi
  simulator=$(port_of simulator SIMULATOR_PORT)
  if [[ -z ${DATABASE_OWNER_URL:-} ]] && is_running postgres; then
    postgres=127.0.0.1:$record_port
    DATABASE_ADMIN_URL=postgres://postgres@$postgres/postgres
    DATABASE_OWNER_URL=postgres://backoffice_owner@$postgres/backoffice
    DATABASE_URL=postgres://backoffice_app@$postgres/backoffice
  fi
  if [[ -z ${REDIS_SESSION_URL:-} ]] && is_running redis-session; then
    REDIS_SESSION_URL=redis://127.0.0.1:$record_port
  fi
  if [[ -z ${REDIS_CACHE_URL:-} ]] && is_running redis-cache; then
    REDIS_CACHE_URL=redis://127.0.0.1:$record_port
  fi
  if [[ -z ${PUBSUB_EMULATOR_HOST:-} ]] && is_running broker; then
    PUBSUB_EMULATOR_HOST=127.0.0.1:$record_port
  fi
  {
    printf '# Written by ops/dev/stack.sh: where everything of this stack listens.\n'
    printf '# yours:%s\n' "$yours"
    printf 'BACKOFFICE_URL=http://127.0.0.1:%s/bff/backoffice/v1\n' "$service"
    printf 'BACKOFFICE_ADMIN_URL=http://127.0.0.1:%s\n' "$admin"
    printf 'SIMULATOR_URL=http://127.0.0.1:%s\n' "$simulator"
    printf 'DATABASE_URL=%s\n' "${DATABASE_URL:-}"
    printf 'DATABASE_OWNER_URL=%s\n' "${DATABASE_OWNER_URL:-}"
    printf 'DATABASE_ADMIN_URL=%s\n' "${DATABASE_ADMIN_URL:-}"
    printf 'REDIS_SESSION_URL=%s\n' "${REDIS_SESSION_URL:-}"
    printf 'REDIS_CACHE_URL=%s\n' "${REDIS_CACHE_URL:-}"
    printf 'PUBSUB_EMULATOR_HOST=%s\n' "${PUBSUB_EMULATOR_HOST:-}"
    printf 'PUBSUB_PROJECT=%s\n' "$PUBSUB_PROJECT"
    printf 'SECRETS_DIR=%s\n' "$STACK_DIR/secrets"
  } | grep -v '=$' >"$STACK_DIR/env.new"
  mv "$STACK_DIR/env.new" "$STACK_DIR/env"
}

up() {
  local parts=" ${*:-postgres redis broker} "
  mkdir -p "$STACK_DIR/run" "$STACK_DIR/log"
  forget_own_urls
  if [[ -n ${DATABASE_URL:-} && -z ${DATABASE_OWNER_URL:-}${DATABASE_ADMIN_URL:-} ]]; then
    die 'DATABASE_URL is set without DATABASE_OWNER_URL: set both, or neither'
  fi
  if [[ $parts == *' broker '* && -z ${PUBSUB_EMULATOR_HOST:-} ]]; then begin_broker; fi
  if [[ $parts == *' postgres '* ]]; then
    if [[ -n ${DATABASE_OWNER_URL:-} ]]; then
      [[ -n ${DATABASE_URL:-} ]] || die 'DATABASE_OWNER_URL is set without DATABASE_URL'
      require_answer DATABASE_OWNER_URL 5432
    elif [[ -n ${DATABASE_ADMIN_URL:-} ]]; then
      require_answer DATABASE_ADMIN_URL 5432
    else
      up_postgres
    fi
  fi
  if [[ $parts == *' redis '* ]]; then
    if [[ -n ${REDIS_SESSION_URL:-} ]]; then
      require_answer REDIS_SESSION_URL 6379
    else
      up_redis session REDIS_SESSION_PORT
    fi
    if [[ -n ${REDIS_CACHE_URL:-} ]]; then
      require_answer REDIS_CACHE_URL 6379
    else
      up_redis cache REDIS_CACHE_PORT
    fi
  fi
  if [[ $parts == *' broker '* ]]; then
    if [[ -n ${PUBSUB_EMULATOR_HOST:-} ]]; then
      require_answer PUBSUB_EMULATOR_HOST 8085
    else
      finish_broker
    fi
  fi
  write_settings
}

# Who supervises them, then the service before its stores. PostgreSQL's INT is its fast shutdown,
# which cuts connections.
down() {
  [[ -d $STACK_DIR/run ]] || return 0
  stop supervisor
  stop service
  stop simulator
  stop broker
  stop redis-cache
  stop redis-session
  stop postgres INT
}

status() {
  local name running=0
  for name in postgres redis-session redis-cache broker simulator service; do
    if is_running "$name" 2>/dev/null; then
      running=$((running + 1))
      printf '%-14s running  port %-6s pid %s\n' "$name" "$record_port" "$record_pid"
    else
      printf '%-14s stopped\n' "$name"
    fi
  done
  ((running > 0))
}

clean() {
  local outside
  down
  if [[ -r $STACK_DIR/postgres.home ]]; then
    outside=$(<"$STACK_DIR/postgres.home")
    if [[ $outside == "$OUTSIDE_HOME".?????? ]]; then rm -rf "$outside"; fi
  fi
  rm -rf "$STACK_DIR"
}

case ${1:-} in
  up) shift && up "$@" ;;
  down) down ;;
  status) status ;;
  env) cat "$STACK_DIR/env" ;;
  migrate) migrate_by_hand ;;
  clean) clean ;;
  *) die 'usage: stack.sh up [postgres] [redis] [broker] | down | status | env | migrate | clean' ;;
esac

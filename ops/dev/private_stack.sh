# shellcheck shell=bash disable=SC2154 # here and repository are set by the callers
# The stack of one target, on free ports, gone when the target ends. `source` this, then call
# `claim_private_stack <name> <fsync: on|off>` and, when they are needed, `start_private_stack` and
# `start_private_service`; process.sh and provide.sh come with it.

# shellcheck source=ops/dev/process.sh
source "$here/process.sh"
# shellcheck source=ops/dev/provide.sh
source "$here/provide.sh"

# Names the stack and sees to its end; what an interrupted run left behind goes first.
claim_private_stack() {
  export STACK_DIR=$repository/target/$1-stack STACK_FSYNC=$2 SQLX_OFFLINE=true
  export POSTGRES_PORT=0 REDIS_SESSION_PORT=0 REDIS_CACHE_PORT=0 PUBSUB_PORT=0
  export BACKOFFICE_PORT=0 BACKOFFICE_ADMIN_PORT=0 SIMULATOR_PORT=0
  require_rust
  mkdir -p "$repository/target"
  trap finish_private_stack EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
  "$here/stack.sh" clean
}

# Quietly: the last line of a target is its summary.
finish_private_stack() {
  trap '' INT TERM HUP
  "$here/stack.sh" clean 2>>"$STACK_DIR.log"
}

# Starts the claimed stack, or the parts of it that are named, and exports where its stores are.
start_private_stack() {
  local name value
  "$here/stack.sh" up "$@"
  while IFS='=' read -r name value; do
    case $name in
      DATABASE_ADMIN_URL | REDIS_SESSION_URL | REDIS_CACHE_URL | PUBSUB_EMULATOR_HOST | PUBSUB_PROJECT)
        export "$name=$value"
        ;;
    esac
  done <"$STACK_DIR/env"
  # Nothing in a test may reach a service or a database that somebody works with.
  unset BACKOFFICE_URL BACKOFFICE_ADMIN_URL SIMULATOR_URL DATABASE_URL DATABASE_OWNER_URL
}

# Builds the tests, and with them the program that holds the embedded broker.
build_tests() {
  cargo test --workspace --locked --no-run --quiet "$@"
  PLATFORM_PROGRAM=$(cargo_programs)/platform
  export PLATFORM_PROGRAM
}

# Builds a benchmark with optimisation, and with it the program that holds the embedded broker: Google's
# emulator delays what it redelivers, and its Java would be measured too.
build_benchmark() {
  export BROKER=${BROKER:-embedded}
  say 'building with optimisation (some minutes the first time)'
  cargo build --release --locked --quiet --package backoffice-platform --bin platform
  PLATFORM_PROGRAM=$(cargo_programs release)/platform
  export PLATFORM_PROGRAM
  cargo bench --locked --quiet --bench "$1" --no-run
}

# Builds the service and the simulated platform as `make run` does, unless both are named.
build_programs() {
  if [[ -n ${BACKOFFICE_PROGRAM:-} && -n ${PLATFORM_PROGRAM:-} ]]; then return; fi
  (cd "$repository" &&
    cargo build --quiet --locked -p backoffice -p backoffice-platform --bins)
  BACKOFFICE_PROGRAM=$(cargo_programs)/backoffice
  PLATFORM_PROGRAM=$(cargo_programs)/platform
  export BACKOFFICE_PROGRAM PLATFORM_PROGRAM
}

# Starts the service and the platform on the started stack, a platform in which nothing happens by
# itself, and exports where they are. The service reads its settings from this environment too;
# arguments are those of `backoffice dev`.
start_private_service() {
  local log=$STACK_DIR/log/supervisor.log name value
  launch supervisor 0 "$log" "$BACKOFFICE_PROGRAM" dev --stack-dir "$STACK_DIR" \
    --platform-program "$PLATFORM_PROGRAM" --pace 86400 "$@"
  # The last thing it does is to sign an operator in.
  await supervisor "$log" 180 test -s "$STACK_DIR/desktop.json"
  say 'the service is ready'
  while IFS='=' read -r name value; do
    case $name in
      BACKOFFICE_URL | SIMULATOR_URL) export "$name=$value" ;;
    esac
  done <"$STACK_DIR/env"
}

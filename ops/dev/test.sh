#!/usr/bin/env bash
# `make test`: formatting, lints, then every test against stores of its own, which end with it.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=$(cd "$here/../.." && pwd)
cd "$repository"
# shellcheck source=ops/dev/process.sh
source "$here/process.sh"
# shellcheck source=ops/dev/provide.sh
source "$here/provide.sh"

export STACK_DIR=$repository/target/test-stack STACK_FSYNC=off SQLX_OFFLINE=true
export POSTGRES_PORT=0 REDIS_SESSION_PORT=0 REDIS_CACHE_PORT=0 PUBSUB_PORT=0
export BACKOFFICE_PORT=0 BACKOFFICE_ADMIN_PORT=0 SIMULATOR_PORT=0

# Quietly: the last line of this target is the summary of the tests.
finish() {
  trap '' INT TERM HUP
  "$here/stack.sh" clean 2>>target/test-stack.log
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

require_rust
mkdir -p target
# What an interrupted run may have left behind.
"$here/stack.sh" clean

say 'formatting'
cargo fmt --all --check
say 'lints'
cargo clippy --workspace --all-targets --locked -- -D warnings
say 'building the tests'
# The same build as the tests use: it includes the program that holds the embedded broker.
cargo test --workspace --locked --no-run --quiet
PLATFORM_PROGRAM=$(cargo_programs)/platform
export PLATFORM_PROGRAM
"$here/stack.sh" up
while IFS='=' read -r name value; do
  case $name in
    DATABASE_ADMIN_URL | REDIS_SESSION_URL | REDIS_CACHE_URL | PUBSUB_EMULATOR_HOST | PUBSUB_PROJECT)
      export "$name=$value"
      ;;
  esac
done <"$STACK_DIR/env"
# Nothing in the tests may reach a service or a database that somebody works with.
unset BACKOFFICE_URL BACKOFFICE_ADMIN_URL SIMULATOR_URL DATABASE_URL DATABASE_OWNER_URL

say 'tests'
if cargo nextest --version >/dev/null 2>&1; then
  cargo nextest run --workspace --locked --retries 0 --no-fail-fast --no-tests pass
else
  cargo test --workspace --locked --no-fail-fast
fi

#!/usr/bin/env bash
# `make test`: formatting, lints, then every test against stores of its own, which end with it.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=$(cd "$here/../.." && pwd)
cd "$repository"
# shellcheck source=ops/dev/private_stack.sh
source "$here/private_stack.sh"

claim_private_stack test off
say 'formatting'
cargo fmt --all --check
say 'lints'
cargo clippy --workspace --all-targets --locked -- -D warnings
# Not built by default, for it needs programs that not every machine has.
cargo clippy --workspace --test counterparts --locked -- -D warnings
say 'building the tests'
build_tests

# Google's emulator takes the more of the machine the more projects it has seen, and each test has one of
# its own. What lives by the broker is tried on it; all else runs on the embedded broker, which the
# platform's own suite holds to the same behaviour.
readonly BY_THE_BROKER='binary(broker) | test(/^(outbox|inbox|end_to_end)::/)'
run_tests() {
  cargo nextest run --workspace --locked --retries 0 --no-fail-fast --no-tests pass -E "$1"
}

given_broker=${PUBSUB_EMULATOR_HOST:-}
start_private_stack
say 'tests'
if ! cargo nextest --version >/dev/null 2>&1; then
  cargo test --workspace --locked --no-fail-fast
elif [[ -n $given_broker ]]; then
  run_tests 'all()'
else
  failed=0
  run_tests "$BY_THE_BROKER" || failed=$?
  unset PUBSUB_EMULATOR_HOST
  BROKER=${BROKER:-embedded} start_private_stack
  run_tests "not ($BY_THE_BROKER)" || failed=$?
  exit $failed
fi

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
start_private_stack

say 'tests'
if cargo nextest --version >/dev/null 2>&1; then
  cargo nextest run --workspace --locked --retries 0 --no-fail-fast --no-tests pass
else
  cargo test --workspace --locked --no-fail-fast
fi

#!/usr/bin/env bash
# `make conformance`: runs the tests that name a case of tests/conformance/cases.tsv and counts the
# cases. A case without a test counts as failed. First the Node peer that the benchmarks compare the
# service with is held to the same answers.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=$(cd "$here/../.." && pwd)
cd "$repository"
# shellcheck source=ops/dev/private_stack.sh
source "$here/private_stack.sh"

readonly NAMED='(^|::)(dp_[a-z]+|id|ti|ab|jw|ss|au|se|fz)(_[0-9][0-9])+_'
results=$repository/target/conformance.log
# The canary workload in its full length.
export CANARY_OPERATIONS=${CANARY_OPERATIONS:-100000}

claim_private_stack conformance off
cargo nextest --version >/dev/null 2>&1 ||
  die 'needs cargo-nextest: cargo install cargo-nextest --locked'
say 'building the tests'
build_tests --lib --bins --test it --test counterparts
start_private_stack
"$here/counterparts.sh"
"$here/peers.sh"

say 'holding the Node peer of the benchmarks to the same work'
cargo nextest run --locked --test counterparts -E 'test(/^node_peer::/)'

say 'running the cases'
# What fails is counted below, from the lines that name it.
NO_COLOR=1 cargo nextest run --workspace --locked --lib --test it --test counterparts \
  --retries 0 --no-fail-fast --status-level all --final-status-level none -E "test(/$NAMED/)" \
  2>&1 | tee "$results" | sed -u '/^ *PASS /d' || true

awk -f "$here/conformance.awk" tests/conformance/cases.tsv "$results"

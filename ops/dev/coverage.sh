#!/usr/bin/env bash
# `make coverage`: how much of the code the tests run. Fails below 90 % of lines or 85 % of regions in
# all, or when a line of a critical file is never run.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=$(cd "$here/../.." && pwd)
cd "$repository"
# shellcheck source=ops/dev/private_stack.sh
source "$here/private_stack.sh"

readonly LINES_MIN=90 REGIONS_MIN=85
# Every line of these is run by a test: who may enter, and what is done once.
readonly COMMANDS='idempotency|lock_action|complete_lock_actions|proxy_mutation|decide_suggestion|consume_attestation'
readonly CRITICAL="(^|/)(access|access/.*|commands/($COMMANDS)(/.*)?|ledger/idempotency)[.]rs\$"
report=$repository/target/coverage.txt

# The tools that read profiles must be of the compiler's own LLVM.
find_llvm_tools() {
  local folder major
  folder=$(rustc --print target-libdir)/../bin
  if [[ -x $folder/llvm-profdata ]]; then return; fi
  major=$(rustc --version --verbose | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
  LLVM_PROFDATA=$(command -v "llvm-profdata-$major") && LLVM_COV=$(command -v "llvm-cov-$major") ||
    die "needs LLVM $major's profile tools: rustup component add llvm-tools
    or: sudo apt-get install llvm-$major"
  export LLVM_PROFDATA LLVM_COV
}

claim_private_stack coverage off
cargo llvm-cov --version >/dev/null 2>&1 ||
  die 'needs cargo-llvm-cov: cargo install cargo-llvm-cov --locked'
find_llvm_tools
say 'building the tests with counters'
# shellcheck disable=SC1090 # the variables under which everything is built with counters
source <(cargo llvm-cov show-env --sh)
cargo llvm-cov clean --workspace
build_tests
start_private_stack
say 'tests'
# One process a binary: one a test would write gigabytes of counters.
cargo test --workspace --locked --no-fail-fast --quiet >"$repository/target/coverage.log" 2>&1 ||
  { tail -n 40 "$repository/target/coverage.log" >&2; die 'a test failed'; }

cargo llvm-cov report --summary-only --ignore-filename-regex '(^|/)tests/' >"$report"
awk -v lines_min=$LINES_MIN -v regions_min=$REGIONS_MIN -v critical="$CRITICAL" '
  # Filename, then count, missed and share of regions, functions, lines, branches.
  $1 ~ /\.rs$/ && $1 ~ critical && $9 > 0 {
    printf "%s: %d of %d lines are never run\n", $1, $9, $8; short++
  }
  $1 == "TOTAL" { lines = $10 + 0; regions = $4 + 0 }
  END {
    met = short == 0 && lines >= lines_min && regions >= regions_min
    if (lines < lines_min || regions < regions_min) {
      printf "less than %d%% of lines or %d%% of regions\n", lines_min, regions_min
    }
    printf "coverage: lines=%.1f%% branches=%.1f%%\n", lines, regions
    exit !met
  }' "$report"

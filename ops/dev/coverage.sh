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
# Every line of these modules is run by a test: who may enter, and what is done once.
readonly CRITICAL=(access commands/{idempotency,lock_action,complete_actions,proxy_mutation} \
  commands/{decide_suggestion,consume_attestation} ledger/idempotency)
report=$repository/target/coverage.txt
never_run=$repository/target/coverage-never-run.txt

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

# A module that was renamed is not one of which every line is run.
for module in "${CRITICAL[@]}"; do
  [[ -f src/$module.rs ]] || die "there is no src/$module.rs: CRITICAL in $0 names it"
done
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

cargo llvm-cov report --text --ignore-filename-regex '(^|/)tests/' |
  awk '/^\// { file = substr($0, 1, length($0) - 1) } /^ *[0-9]+\| *0\|/ { print file ": " $0 }' \
    >"$never_run"
cargo llvm-cov report --summary-only --ignore-filename-regex '(^|/)tests/' >"$report"
awk -v lines_min=$LINES_MIN -v regions_min=$REGIONS_MIN -v critical="${CRITICAL[*]}" \
  -v never_run="$never_run" '
  BEGIN { split(critical, names, " ") }
  # Filename, then count, missed and share of regions, functions, lines, branches.
  $1 ~ /\.rs$/ {
    for (module in names) {
      if ($1 !~ "(^|/)" names[module] "(/.*)?[.]rs$") continue
      is_met[module] = 1
      if ($9 > 0) { printf "%s: %d of %d lines are never run\n", $1, $9, $8; short++ }
    }
  }
  $1 == "TOTAL" { share = $10 + 0; regions = $4 + 0 }
  END {
    for (module in names) {
      if (!is_met[module]) { printf "no line of %s is counted\n", names[module]; short++ }
    }
    if (short) printf "they stand in %s\n", never_run
    if (share < lines_min || regions < regions_min) {
      printf "less than %d%% of lines or %d%% of regions\n", lines_min, regions_min
    }
    printf "coverage: lines=%.1f%% branches=%.1f%%\n", share, regions
    exit !(short == 0 && share >= lines_min && regions >= regions_min)
  }' "$report"

#!/usr/bin/env bash
# `make mutants`: changes the code that keeps callers and tenants apart, one expression at a time, and
# counts how many of the changes the tests notice. Fails when fewer than nine in ten are noticed.
#
# It works on a copy of the files of this checkout, against stores of its own. What is changed and which
# tests have to notice stands in .cargo/mutants.toml. A whole run takes hours; a part of it:
#   MUTANTS_SHARD=3/20 make mutants               the fourth of twenty parts
#   MUTANTS_FILE=src/views/key.rs make mutants    one file
# The last line is `mutants: caught=N missed=N timeout=N`; names are in target/mutants/mutants.out.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=$(cd "$here/../.." && pwd)
cd "$repository"
# shellcheck source=ops/dev/private_stack.sh
source "$here/private_stack.sh"

readonly work=$repository/target/mutants
claim_private_stack mutants off
for program in mutants nextest; do
  cargo "$program" --version >/dev/null 2>&1 ||
    die "needs cargo-$program: cargo install cargo-$program --locked"
done

say 'copying the files of this checkout'
rm -rf "$work/copy"
mkdir -p "$work/copy"
git ls-files -z --cached --others --exclude-standard |
  while IFS= read -r -d '' file; do
    if [[ -e $file ]]; then printf '%s\0' "$file"; fi
  done |
  tar --null --files-from - --create --file - | tar --extract --file - --directory "$work/copy"
start_private_stack

part=()
if [[ -n ${MUTANTS_SHARD:-} ]]; then part+=(--shard "$MUTANTS_SHARD"); fi
if [[ -n ${MUTANTS_FILE:-} ]]; then part+=(--file "$MUTANTS_FILE"); fi

# The copy is changed in place, so that each build is an incremental one.
# 0: all caught, 2: some missed, 3: some timed out; all else is a failure of the run itself.
status=0
CARGO_TARGET_DIR=$work/target CARGO_PROFILE_DEV_DEBUG=none \
  cargo mutants --dir "$work/copy" --in-place --output "$work" --no-shuffle --colors never \
  "${part[@]}" || status=$?
if ((status != 0 && status != 2 && status != 3)); then
  die "cargo-mutants stopped with $status; see $work/mutants.out"
fi

count() { sed -n "s/^  \"$1\": \([0-9]*\),\{0,1\}\$/\1/p" "$work/mutants.out/outcomes.json"; }
caught=$(count caught) missed=$(count missed) timed_out=$(count timeout)
printf 'mutants: caught=%s missed=%s timeout=%s\n' "$caught" "$missed" "$timed_out"
((caught > 0 && caught * 10 >= (caught + missed + timed_out) * 9))

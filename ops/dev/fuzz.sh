#!/usr/bin/env bash
# `make fuzz`: every target of tests/fuzz for SECONDS each (TARGET names one), from its seeds and
# what earlier runs found; both stay in target/fuzz. An input that breaks something is kept there
# too, and belongs among the seeds with its fix.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=$(cd "$here/../.." && pwd)
cd "$repository/tests/fuzz"
# shellcheck source=ops/dev/process.sh
source "$here/process.sh"

readonly seconds=${1:-60} only=${2:-}
readonly work=$repository/target/fuzz

rustup toolchain list 2>/dev/null | grep -q '^nightly' ||
  die 'needs a nightly toolchain: rustup toolchain install nightly --profile minimal'
cargo fuzz --version >/dev/null 2>&1 || die 'needs cargo-fuzz: cargo install cargo-fuzz --locked'

# The code has no unsafe block, and C code would not be watched: a sanitizer would find nothing.
fuzz() {
  SQLX_OFFLINE=true cargo +nightly fuzz "$1" --fuzz-dir . --sanitizer none \
    --target-dir "${CARGO_TARGET_DIR:-$work}/build" "${@:2}"
}

if [[ -n $only ]]; then targets=("$only"); else mapfile -t targets < <(cargo fuzz list --fuzz-dir .); fi
say "building ${#targets[@]} targets"
fuzz build
for target in "${targets[@]}"; do
  say "$target, $seconds s"
  mkdir -p "$work/corpus/$target" "$work/artifacts/$target"
  # A proof and its header are at most 2 KiB; nothing that is read here needs more than 4.
  fuzz run "$target" "$work/corpus/$target" "seeds/$target" -- \
    -max_total_time="$seconds" -max_len=4096 -timeout=5 -rss_limit_mb=2048 \
    -artifact_prefix="$work/artifacts/$target/" -print_final_stats=1
done
say "no input broke a target"

#!/usr/bin/env bash
# `make bench SUITE=access|read|write|peers|all`: figures beside their peers, with optimisation, on stores that
# write to disk before they answer.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=$(cd "$here/../.." && pwd)
cd "$repository"
# shellcheck source=ops/dev/private_stack.sh
source "$here/private_stack.sh"

suite=${SUITE:-all}
case $suite in
  access | read | write | peers | all) ;;
  *) die "SUITE=$suite is none of: access read write peers all" ;;
esac
claim_private_stack bench on
if [[ $suite == peers || $suite == all ]]; then "$here/peers.sh"; fi
build_benchmark figures
start_private_stack
say "measuring $suite"
cargo bench --locked --quiet --bench figures -- "$suite"

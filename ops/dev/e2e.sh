#!/usr/bin/env bash
# `make e2e`: the journeys of an operator, in the reference desktop's page in headless Chromium, and the
# dashboard as a page, with the real service and the simulated platform; on a stack of its own.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=$(cd "$here/../.." && pwd)
# shellcheck source=ops/dev/private_stack.sh
source "$here/private_stack.sh"
# shellcheck source=ops/dev/node.sh
source "$here/node.sh"
# shellcheck source=ops/dev/chromium.sh
source "$here/chromium.sh"

desktop=$repository/tests/desktop
# Others may be using the machine: what is late here is not lost.
export SESSION_TIER_TIMEOUT=2s

desktop() { npm run --silent --prefix "$desktop" "$@"; }

# Of node's report in JUnit's form, in which a test that failed says why.
count() {
  awk '/<testcase / { total += 1 } /<failure / { failed += 1 }
    END { printf "e2e: %d tests passed, %d failed\n", total - failed, failed }' "$1"
}

# Servers of yours would be written to.
unset DATABASE_URL DATABASE_OWNER_URL DATABASE_ADMIN_URL REDIS_SESSION_URL REDIS_CACHE_URL
unset PUBSUB_EMULATOR_HOST

require_node
require_chromium
claim_private_stack e2e off
export BROKER=${BROKER:-embedded}
say 'building the service and the simulated platform'
build_programs
install_node_packages "$desktop"
say 'checking the form and the types of the desktop'
rm -rf "$desktop/build"
desktop generate >/dev/null
desktop check-format
desktop build
desktop bundle
say 'the parts of the desktop that need no service'
desktop test:unit
start_private_stack
# A browser lets a page read what the service answers only if the service knows where the page is from.
DESK_ORIGIN=http://127.0.0.1:$(free_port)
export DESK_ORIGIN BACKOFFICE_CORS_ORIGINS=$DESK_ORIGIN
start_private_service

say 'the journeys and the dashboard'
report=$repository/target/e2e-report.xml
passed=0
E2E_REPORT=$report desktop test:e2e || passed=$?
count "$report"
exit "$passed"

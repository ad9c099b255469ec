#!/usr/bin/env bash
# `make sqlx`: describes the queries of the code anew, against a fresh database of its own, so that
# builds can check them without one.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=$(cd "$here/../.." && pwd)
cd "$repository"
# shellcheck source=ops/dev/private_stack.sh
source "$here/private_stack.sh"

unset DATABASE_URL DATABASE_OWNER_URL DATABASE_ADMIN_URL
descriptions=$repository/target/sqlx
claim_private_stack sqlx off
"$here/stack.sh" up postgres
"$here/stack.sh" migrate
url=$(sed -n 's/^DATABASE_OWNER_URL=//p' "$STACK_DIR/env")

# What is there stays until all of it has been described.
rm -rf "$descriptions"
mkdir -p "$descriptions"
say 'describing the queries'
# Only the compiler's run over the macros describes; what is up to date would be passed over.
touch src/lib.rs tests/it/main.rs
SQLX_OFFLINE=false SQLX_OFFLINE_DIR=$descriptions DATABASE_URL=$url \
  cargo check --workspace --all-targets --locked --quiet
rm -rf .sqlx
mv "$descriptions" .sqlx
git status --short -- .sqlx

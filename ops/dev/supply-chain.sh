#!/usr/bin/env bash
# `make supply-chain`: what the lock file may bring in (deny.toml). Bans, licences and sources need no network.
#
# ADVISORY_DB  folder with a copy of https://github.com/RustSec/advisory-db, a Git checkout; nothing is fetched then.
#              Unset, the database is fetched. ADVISORIES=skip leaves this part out, and says so.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=$(cd "$here/../.." && pwd)
cd "$repository"
# shellcheck source=ops/dev/process.sh
source "$here/process.sh"

command -v cargo-deny >/dev/null || die 'cargo-deny is missing: cargo install cargo-deny --locked --version 0.20.2'
[[ -z $(git ls-files --error-unmatch Cargo.lock 2>&1 >/dev/null) ]] || die 'Cargo.lock is not committed'

say 'bans, licences, sources'
cargo deny --offline --locked check bans licenses sources

if [[ ${ADVISORIES:-} == skip ]]; then
  printf 'supply-chain: bans, licences and sources hold; advisories were NOT looked at\n'
  exit 0
fi

say 'advisories'
if [[ -n ${ADVISORY_DB:-} ]]; then
  [[ -d $ADVISORY_DB/crates ]] || die "ADVISORY_DB: $ADVISORY_DB holds no advisories"
  # cargo-deny looks for its copies under a name made of the address; a folder of links gives it one.
  databases=$(mktemp -d)
  trap 'rm -rf "$databases"' EXIT
  ln -s "$(cd "$ADVISORY_DB" && pwd)" "$databases/advisory-db-3157b0e258782691"
  sed "s|^\[advisories\]|&\ndb-path = \"$databases\"|" deny.toml >"$databases/deny.toml"
  cargo deny --offline --locked --config "$databases/deny.toml" check advisories
else
  cargo deny --locked check advisories ||
    die 'the advisories do not hold, or could not be fetched: name a copy by ADVISORY_DB, or say ADVISORIES=skip'
fi
printf 'supply-chain: bans, licences, sources and advisories hold\n'

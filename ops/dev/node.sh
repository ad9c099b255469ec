# shellcheck shell=bash
# Node packages for the programs of ours that are written for Node.

readonly NODE_MAJOR_MIN=20

require_node() {
  local version
  version=$(node --version 2>/dev/null) || version=
  version=${version#v}
  if [[ ! ${version%%.*} =~ ^[0-9]+$ ]] || ((${version%%.*} < NODE_MAJOR_MIN)); then
    die "needs Node $NODE_MAJOR_MIN or newer (found: ${version:-none}). Get it from https://nodejs.org"
  fi
  command -v npm >/dev/null || die 'needs npm, which comes with Node from https://nodejs.org'
}

# Installs what the lock file of a folder names into its node_modules, once, and runs no package's
# own scripts. A stamp is written last, so that an interrupted installation is done again.
install_node_packages() {
  local folder=$1
  if ! cmp -s "$folder/package-lock.json" "$folder/node_modules/installed.json"; then
    (cd "$folder" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
    cp "$folder/package-lock.json" "$folder/node_modules/installed.json"
  fi
}

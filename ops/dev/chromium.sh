# shellcheck shell=bash
# The browser in which the reference desktop runs; sets CHROMIUM, unless it names a program already.

require_chromium() {
  local name names=(chromium chromium-browser google-chrome)
  if [[ -n ${CHROMIUM:-} ]]; then names=("$CHROMIUM"); fi
  for name in "${names[@]}"; do
    if CHROMIUM=$(command -v "$name"); then
      export CHROMIUM
      return
    fi
  done
  die 'needs Chromium: install it (Debian: apt-get install chromium) or set CHROMIUM to its path'
}

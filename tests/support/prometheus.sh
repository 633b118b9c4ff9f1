#!/usr/bin/env bash
# Prints the folder of `prometheus` and `promtool`, and fetches Debian's package if they are missing. The package is only
# unpacked: nothing is installed, and no service starts. The version is that of the Debian that runs this.
set -euo pipefail
cd "$(dirname "$0")/../.."
tools=${CARGO_TARGET_DIR:-target}/test-tools
mkdir -p "$tools"
dir=$(realpath -s "$tools/prometheus")
exec 9> "$tools/prometheus.lock"
flock 9
if [ ! -f "$dir/complete" ]; then
  rm -rf "$dir"
  mkdir -p "$dir"
  fetch() {
    # As root apt downloads as another user, who may not write here; it says so and does it as root.
    (cd "$dir" && apt-get download -qq prometheus 2> "$dir/said")
  }
  if ! fetch; then
    # The lists of packages may be missing or old.
    root=()
    [ "$(id -u)" -eq 0 ] || root=(sudo)
    "${root[@]}" apt-get update -qq
    fetch || {
      cat "$dir/said" >&2
      exit 1
    }
  fi
  dpkg-deb -x "$dir"/prometheus_*.deb "$dir/files"
  rm "$dir"/prometheus_*.deb
  touch "$dir/complete"
fi
echo "$dir/files/usr/bin"

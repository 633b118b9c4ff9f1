#!/usr/bin/env bash
# Makes the base image of the `cpu` stack where no registry can be reached: a minimal Debian, by debootstrap,
# imported under the name that the stack wants. Does nothing when the image is there or can be pulled.
set -euo pipefail
image=${1:-debian:bookworm-slim}
if docker image inspect "$image" > /dev/null 2>&1; then
  echo "base image $image is there"
  exit 0
fi
if timeout 120 docker pull --quiet "$image" 2> /dev/null; then
  exit 0
fi
echo "base image $image cannot be pulled: making one with debootstrap"
root=()
if [ "$(id -u)" -ne 0 ]; then
  root=(sudo)
fi
if ! command -v debootstrap > /dev/null; then
  "${root[@]}" apt-get update -qq
  "${root[@]}" apt-get install --yes -qq debootstrap > /dev/null
fi
dir=$("${root[@]}" mktemp -d)
trap '"${root[@]}" rm -rf "$dir"' EXIT
"${root[@]}" debootstrap --variant=minbase bookworm "$dir/root" > "${TMPDIR:-/tmp}/dsr1-debootstrap.log" 2>&1 || {
  tail -n 20 "${TMPDIR:-/tmp}/dsr1-debootstrap.log"
  exit 1
}
"${root[@]}" tar -C "$dir/root" --exclude=./proc/* --exclude=./sys/* --exclude=./var/cache/apt/archives/*.deb -c . \
  | docker import --change 'CMD ["bash"]' - "$image" > /dev/null
echo "base image $image made"

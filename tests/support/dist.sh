#!/usr/bin/env bash
# Makes a release in dist/: the static binary with completions, manual pages, README and licence, as an archive, and the
# SHA-256 of archive and binary. Two runs on one commit make the same archive.
set -euo pipefail
cd "$(dirname "$0")/../.."
if [ -n "$(git status --porcelain)" ]; then
  echo "the tree has changes that no commit has: commit or stash them, then make the release" >&2
  exit 1
fi
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
commit=$(git rev-parse --short=12 HEAD)
date=$(git show --no-patch --format=%cs HEAD)
export DSR1_VERSION="$version ($commit, $date)"
cargo static
name=dsr1-$version-linux-x86_64
rm -rf dist
mkdir -p "dist/$name/completions" "dist/$name/man"
cp "${CARGO_TARGET_DIR:-target}/x86_64-unknown-linux-gnu/dist/dsr1" README.md LICENSE CHANGELOG.md "dist/$name/"
dsr1=dist/$name/dsr1
for shell in bash zsh fish; do
  "$dsr1" completions "$shell" > "dist/$name/completions/dsr1.$shell"
done
"$dsr1" man "dist/$name/man"
tar --mode=u=rwX,go=rX --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$(git show --no-patch --format=%ct HEAD)" \
  -C dist -c "$name" | gzip --no-name > "dist/$name.tar.gz"
(cd dist && sha256sum "$name.tar.gz" "$name/dsr1" > SHA256SUMS)
echo "dist/$name.tar.gz: $("$dsr1" --version)"

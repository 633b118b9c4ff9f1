#!/usr/bin/env bash
# Checks licences, banned crates and sources of all dependencies with cargo-deny: the one on PATH, or one that is built
# below target/test-tools. What is there is kept.
set -euo pipefail
cd "$(dirname "$0")/../.."
version=0.20.2
deny=cargo-deny
if ! command -v "$deny" > /dev/null; then
  dir=${CARGO_TARGET_DIR:-target}/test-tools
  deny=$dir/cargo-deny-$version/bin/cargo-deny
  mkdir -p "$dir"
  exec 9> "$dir/cargo-deny.lock"
  flock 9
  if [ ! -x "$deny" ]; then
    # It runs for seconds: what counts is how fast it is built.
    (
      unset CARGO_BUILD_TARGET CARGO_TARGET_DIR RUSTFLAGS
      CARGO_PROFILE_DEV_DEBUG=0 CARGO_PROFILE_DEV_OPT_LEVEL=0 CARGO_PROFILE_DEV_INCREMENTAL=false \
        cargo install "cargo-deny@$version" --locked --debug --quiet \
        --root "$dir/cargo-deny-$version" --target-dir "$dir/cargo-deny-build"
    )
    rm -rf "$dir/cargo-deny-build"
  fi
fi
"$deny" check bans licenses sources

#!/usr/bin/env bash
# Builds the Xet store of Xet's own tests below target/test-tools, and prints the path of its program. What is there is
# kept.
set -euo pipefail
cd "$(dirname "$0")/../.."
# The crate that has the store, in the version of the transport's own crates.
version=1.8.0
dir=${CARGO_TARGET_DIR:-target}/test-tools
root=$dir/xet-$version
mkdir -p "$dir"
exec 9> "$dir/xet.lock"
flock 9
if [ ! -x "$root/bin/local_cas_server" ]; then
  # It is started a few times and serves megabytes: what counts is how fast it is built.
  unset CARGO_BUILD_TARGET CARGO_TARGET_DIR RUSTFLAGS
  CARGO_PROFILE_DEV_DEBUG=0 CARGO_PROFILE_DEV_OPT_LEVEL=0 CARGO_PROFILE_DEV_INCREMENTAL=false \
    cargo install "xet-client@$version" --features simulation --bin local_cas_server --locked --debug --quiet \
    --root "$root" --target-dir "$dir/xet-build" >&2
  rm -rf "$dir/xet-build"
fi
realpath -s "$root/bin/local_cas_server"

#!/usr/bin/env bash
# Makes a venv with the `hf` client below target/test-tools/hf, and prints the path of the client. What is there is kept.
set -euo pipefail
cd "$(dirname "$0")/../.."
# The newest version of `huggingface_hub` that this was run with.
version=2.4.0
dir=${CARGO_TARGET_DIR:-target}/test-tools
venv=$dir/hf-$version
mkdir -p "$dir"
exec 9> "$dir/hf.lock"
flock 9
if [ ! -f "$venv/complete" ]; then
  rm -rf "$venv"
  python3 -m venv "$venv" || {
    echo "install python3-venv" >&2
    exit 1
  }
  "$venv/bin/pip" install --quiet --disable-pip-version-check "huggingface_hub==$version"
  touch "$venv/complete"
fi
realpath -s "$venv/bin/hf"

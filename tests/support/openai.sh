#!/usr/bin/env bash
# Makes a venv with the `openai` package below target/test-tools, and prints the path of its
# Python. What is there is kept.
set -euo pipefail
cd "$(dirname "$0")/../.."
# The newest version of `openai` that this was run with.
version=3.57.0
dir=${CARGO_TARGET_DIR:-target}/test-tools
venv=$dir/openai-$version
mkdir -p "$dir"
exec 9> "$dir/openai.lock"
flock 9
if [ ! -f "$venv/complete" ]; then
  rm -rf "$venv"
  python3 -m venv "$venv" || {
    echo "install python3-venv" >&2
    exit 1
  }
  "$venv/bin/pip" install --quiet --disable-pip-version-check "openai==$version"
  touch "$venv/complete"
fi
realpath -s "$venv/bin/python3"

#!/usr/bin/env bash
# Unpacks SGLang's wheels of the given versions (those of sglang-versions) below target/sglang-wheels, each into a folder
# of its own, and makes a venv with what their parsers cannot do without. What is there is kept.
set -euo pipefail
cd "$(dirname "$0")/../.."
versions=("$@")
[ $# -gt 0 ] || mapfile -t versions < tests/support/sglang-versions
dir=target/sglang-wheels
mkdir -p "$dir"
exec 9> "$dir/lock"
flock 9
if [ ! -x "$dir/venv/bin/python3" ] || ! "$dir/venv/bin/python3" -c 'import msgspec' 2> /dev/null; then
  rm -rf "$dir/venv"
  python3 -m venv "$dir/venv"
  # From 0.5.20 on the options are fields of msgspec structs. Everything else has a stand-in.
  "$dir/venv/bin/pip" install --quiet --disable-pip-version-check msgspec==0.22.0
fi
for version in "${versions[@]}"; do
  [ -f "$dir/$version/complete" ] && continue
  rm -rf "${dir:?}/$version"
  mkdir -p "$dir/$version"
  # The wheels of the newer versions are for CPython 3.11; their parsers run under any later one.
  "$dir/venv/bin/pip" download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
    --python-version 3.11 --platform manylinux_2_34_x86_64 --dest "$dir/$version" "sglang==$version"
  python3 -m zipfile -e "$dir/$version"/*.whl "$dir/$version"
  rm "$dir/$version"/*.whl
  find "$dir/$version" -name '*.so' -delete
  touch "$dir/$version/complete"
done

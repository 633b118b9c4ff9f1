# Sourced by the scripts that make a Python client: `venv NAME PACKAGE VERSION PROGRAM` makes a venv with the package below
# target/test-tools, and prints the path of a program in it. What is there is kept.
venv() {
  local dir=${CARGO_TARGET_DIR:-target}/test-tools
  local venv=$dir/$1-$3
  mkdir -p "$dir"
  exec 9> "$dir/$1.lock"
  flock 9
  if [ ! -f "$venv/complete" ]; then
    rm -rf "$venv"
    python3 -m venv "$venv" || {
      echo "install python3-venv" >&2
      exit 1
    }
    # uv resolves and fetches several times faster than pip.
    "$venv/bin/pip" install --quiet --disable-pip-version-check uv==0.13.9
    "$venv/bin/uv" pip install --quiet --python "$venv/bin/python3" "$2==$3"
    touch "$venv/complete"
  fi
  realpath -s "$venv/bin/$4"
}

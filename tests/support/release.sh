#!/usr/bin/env bash
# The binary of a profile (dist, or gate: the one that the tests ran) is one static file below a size; prints how long
# help and planning take. With dist, it is that of a whole release, whose archive is checked too.
set -euo pipefail
cd "$(dirname "$0")/../.."
target=${CARGO_TARGET_DIR:-target}
case "${1:-dist}" in
  dist)
    tests/support/dist.sh
    binary=$(echo dist/dsr1-*/dsr1)
    most=23000000
    (cd dist && sha256sum --check --quiet SHA256SUMS)
    commit=$(git rev-parse --short=12 HEAD)
    "$binary" --version | grep -q "($commit, 20"
    # Not through a pipe: `grep -q` ends before tar does, and that would fail the script.
    listed=$(tar -tzf dist/dsr1-*.tar.gz)
    for file in README.md LICENSE completions/dsr1.bash completions/dsr1.zsh completions/dsr1.fish man/dsr1.1 man/dsr1-serve.1; do
      grep -q "/$file\$" <<< "$listed"
    done
    ;;
  gate)
    . tests/support/gate.sh
    cargo build --quiet "${gate[@]}"
    binary=$target/$host/gate/dsr1
    # Less optimized, and with checks: what is 10 % larger than on the day of this bound is looked at.
    most=53000000
    ;;
esac
size=$(stat --format %s "$binary")
echo "size: $size bytes, at most $most"
[ "$size" -lt "$most" ]
if ldd "$binary" 2> /dev/null | grep -q '=>'; then
  echo "not static:"
  ldd "$binary"
  exit 1
fi
facts=tests/fixtures/facts-b200.json
python3 - "$binary" "$facts" << 'PYTHON'
import subprocess, sys, time
binary, facts = sys.argv[1:]
for args in (["--help"], ["plan", "--profile", "fp8-high-throughput", "--facts", facts]):
    times = []
    for _ in range(30):
        begun = time.perf_counter()
        subprocess.run([binary, *args], stdout=subprocess.DEVNULL, check=True)
        times.append(time.perf_counter() - begun)
    times.sort()
    print(f"{args[0]}: best {times[0] * 1000:.1f} ms, median {times[15] * 1000:.1f} ms, starting the process included")
PYTHON

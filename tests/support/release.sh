#!/usr/bin/env bash
# The release binary is one static file of less than 16 MB, and help and planning take less than 10 ms with it.
set -euo pipefail
cd "$(dirname "$0")/../.."
cargo static
binary=${CARGO_TARGET_DIR:-target}/x86_64-unknown-linux-gnu/dist/dsr1
size=$(stat --format %s "$binary")
echo "size: $size bytes"
[ "$size" -lt 16000000 ]
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

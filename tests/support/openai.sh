#!/usr/bin/env bash
# Prints the path of a Python with the `openai` package, and installs it if it is missing. The version is the newest that this was run with.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/support/venv.sh
venv openai openai 3.57.0 python3

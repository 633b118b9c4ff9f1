#!/usr/bin/env bash
# Prints the path of `aiperf`, and installs it if it is missing.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/support/venv.sh
venv aiperf aiperf 0.13.0 aiperf

#!/usr/bin/env bash
# Prints the path of `guidellm`, and installs it if it is missing.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/support/venv.sh
venv guidellm guidellm 0.8.1 guidellm

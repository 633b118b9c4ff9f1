#!/usr/bin/env bash
# Prints the path of the `hf` client, and installs it if it is missing. The version is the newest that this was run with.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/support/venv.sh
venv hf huggingface_hub 2.4.0 hf

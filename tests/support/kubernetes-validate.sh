#!/usr/bin/env bash
# Prints the path of a Python with `kubernetes-validate`, which has the schemas of Kubernetes, and installs it if it is missing.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/support/venv.sh
venv kubernetes-validate kubernetes-validate 1.37.0 python3

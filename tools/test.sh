#!/usr/bin/env bash
# Runs every test:  bash tools/test.sh [arguments of pytest]
# Slow ones are left out unless asked for:  bash tools/test.sh -m slow
set -euo pipefail
cd "$(dirname "$0")/.."
bash tools/setup_env.sh tests
.venv/bin/python -m ruff check .
exec .venv/bin/python -m pytest "$@"

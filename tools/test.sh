#!/usr/bin/env bash
# Runs every test:  bash tools/test.sh [arguments of pytest]
# Slow ones are left out unless asked for:  bash tools/test.sh -m slow
# Without arguments the files are shared out among as many processes as there are cores,
# with a thread each; with arguments one process runs the tests in order.
set -euo pipefail
cd "$(dirname "$0")/.."
bash tools/setup_env.sh tests
.venv/bin/python -m ruff check .
if [ $# -eq 0 ]; then
    export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
    set -- --numprocesses auto --dist loadfile --no-loadscope-reorder
fi
exec .venv/bin/python -m pytest "$@"

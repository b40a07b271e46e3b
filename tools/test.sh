#!/usr/bin/env bash
# Lint, then run the tests:  bash tools/test.sh [arguments of pytest]
# The slow tests run on request:  bash tools/test.sh -m slow
# Without arguments, as many processes as cores share the files, with one thread each. With
# arguments, one process runs the tests in order.
set -euo pipefail
cd "$(dirname "$0")/.."
bash tools/setup_env.sh tests
.venv/bin/python -m ruff check .
if [ $# -eq 0 ]; then
    export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
    set -- --numprocesses auto --dist loadfile --no-loadscope-reorder
fi
exec .venv/bin/python -m pytest "$@"

#!/usr/bin/env bash
# Makes .venv with this package and all it needs, unless it is there already.
#   bash tools/setup_env.sh [EXTRA]      EXTRA: action (default) or tests
# PYTHON names the interpreter to start from (default: python3).
set -euo pipefail
cd "$(dirname "$0")/.."
extra=${1:-action}
python=${PYTHON:-python3}
venv=.venv

# A changed list of packages means another environment.
stamp="$venv/.cosam_mm_$extra"
wanted=$(cat setup.py pyproject.toml requirements/constraints.txt tools/setup_env.sh | cksum)
if [ -x "$venv/bin/python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
    exit 0
fi

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 9))'; then
    echo "error: cosam_mm needs Python 3.9 or newer; set PYTHON to one." >&2
    exit 2
fi
echo "== setting up $venv ($extra) =="
if [ ! -x "$venv/bin/python" ] && ! "$python" -m venv "$venv"; then
    echo "error: $python cannot make a virtual environment. On Debian and Ubuntu the" >&2
    echo "package python3-venv does it: apt-get install python3-venv" >&2
    rm -rf "$venv"
    exit 2
fi
py="$venv/bin/python"
pip() { "$py" -m pip --disable-pip-version-check "$@"; }

# The tested versions need Python 3.11; older ones get what the ranges allow.
constraints=()
if "$py" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    constraints=(-c requirements/constraints.txt)
fi

# mmcv-lite fills the same folder as mmcv: never install it over a full one.
extras=$extra
if ! "$py" -c 'import importlib.util as u, sys; sys.exit(u.find_spec("mmcv") is None)'; then
    extras="$extra,mmcv-lite"
fi
pip install --quiet "${constraints[@]}" -e ".[$extras]"

# OpenCV's ordinary wheels need a system's graphics libraries. Where those are
# missing, the headless build does the same work.
if ! "$py" -c 'import cv2' 2>/dev/null; then
    echo "== no graphics libraries here: taking the headless OpenCV =="
    pip uninstall --quiet --yes opencv-python opencv-contrib-python
    pip install --quiet "${constraints[@]}" opencv-contrib-python-headless
    "$py" -c 'import cv2'
fi
echo "$wanted" > "$stamp"

#!/usr/bin/env bash
# Creates .venv with this package and all that it needs, unless it exists.
#   bash tools/setup_env.sh [EXTRA]      EXTRA: action (default) or tests
# PYTHON names the interpreter to start from (default: python3). pip's own settings
# (PIP_INDEX_URL, PIP_EXTRA_INDEX_URL, ...) select the source of packages.
set -euo pipefail
cd "$(dirname "$0")/.."
extra=${1:-action}
python=${PYTHON:-python3}
venv=.venv
py="$venv/bin/python"

fail() {
    echo "error: $*" >&2
    exit 2
}
pip() { "$py" -m pip --disable-pip-version-check "$@"; }
is_at_least() { "$1" -c "import sys; sys.exit(sys.version_info < ($2))"; }

case $extra in
    action) covers=(action) ;;
    tests) covers=(action tests) ;;
    *) fail "EXTRA must be action or tests, got '$extra'." ;;
esac

# Other packages, another Python and another place are another environment.
fingerprint() {
    { "$py" --version; pwd; cat setup.py pyproject.toml requirements/constraints.txt \
        tools/setup_env.sh; } | cksum
}
if [ -x "$py" ] && [ "$(cat "$venv/.cosam_mm_$extra" 2>/dev/null)" = "$(fingerprint)" ]
then
    exit 0
fi

# Without pip, an earlier attempt was interrupted or had no ensurepip.
if [ ! -x "$py" ] || ! pip --version > /dev/null 2>&1; then
    command -v "$python" > /dev/null ||
        fail "there is no $python here. Install Python 3.9 or newer, or set PYTHON to one."
    is_at_least "$python" '3, 9' ||
        fail "cosam_mm needs Python 3.9 or newer, and $python is" \
            "$("$python" --version 2>&1). Set PYTHON to a newer one."
    was_there=$([ ! -e "$venv" ] || echo yes)
    if ! "$python" -m venv "$venv"; then
        [ -n "$was_there" ] || rm -rf "$venv"
        fail "$python cannot make a virtual environment. On Debian and Ubuntu the" \
            "package python3-venv does it: apt-get install python3-venv"
    fi
fi
is_at_least "$py" '3, 9' ||
    fail "$venv holds $("$py" --version 2>&1), and cosam_mm needs 3.9 or newer: remove" \
        "that folder and run this again."
echo "== setting up $venv ($extra): some minutes, and network, the first time =="

# The tested versions need Python 3.11; older ones get what the ranges allow.
constraints=()
if is_at_least "$py" '3, 11'; then
    constraints=(-c requirements/constraints.txt)
fi
install() { pip install --quiet ${constraints[@]+"${constraints[@]}"} "$@"; }

# mmcv-lite fills the same folder as mmcv: never install it over a full one.
mmcv_extra=$("$py" - << 'CODE'
from importlib.metadata import distributions
from importlib.util import find_spec
names = {(dist.metadata['Name'] or '').lower().replace('_', '-')
         for dist in distributions()}
lite_only = 'mmcv-lite' in names and 'mmcv' not in names
print(',mmcv-lite' if find_spec('mmcv') is None or lite_only else '')
CODE
)
install -e ".[$extra$mmcv_extra]"

# OpenCV's ordinary wheels need a system's graphics libraries. Where those are
# missing, the headless build does the same work. It is put in place again even if
# pip knows it: all of them share one folder, which the others have just overwritten.
has_opencv() { "$py" -c 'import cv2; cv2.VideoCapture'; }
if ! has_opencv 2> /dev/null; then
    echo "== no graphics libraries here: taking the headless OpenCV =="
    headless=$("$py" -c 'from importlib.metadata import version
print("opencv-contrib-python-headless==" + version("opencv-contrib-python"))')
    pip uninstall --quiet --yes opencv-python opencv-contrib-python
    pip install --quiet --force-reinstall --no-deps "$headless"
    has_opencv
fi

for name in "${covers[@]}"; do
    fingerprint > "$venv/.cosam_mm_$name"
done

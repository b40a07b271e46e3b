"""``from cosam_mm import ...``: imported when it is asked for, and not before."""
import pytest

import cosam_mm
from tests.tool_process import REPO, run_fresh

MISSING = """
import sys
import cosam_mm
assert 'mmaction' not in sys.modules
for name in {missing!r}:
    sys.modules[name] = None
try:
    from cosam_mm import {wanted}
except ImportError as error:
    print(error, '|', error.name, '|', type(error.__cause__).__name__)
else:
    print({wanted}.__module__, 'mmaction' in sys.modules)
"""


def run(tmp_path, wanted, *missing):
    script = tmp_path / 'script.py'
    script.write_text(MISSING.format(wanted=wanted, missing=missing))
    done = run_fresh(script, cwd=tmp_path, PYTHONPATH=str(REPO))
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(('wanted', 'missing', 'extra'), [
    ('ActionRecognizer', 'mmaction', 'action'),
    ('TrackletEncoder', 'cv2', 'reid')])
def test_missing_package_names_the_extra(tmp_path, wanted, missing, extra):
    assert run(tmp_path, wanted, missing) == (
        f"{wanted} needs {missing}, which is not installed: pip install "
        f"'cosam_mm[{extra}]' brings it. | {missing} | ModuleNotFoundError")


def test_encoder_needs_torch_and_mmengine_only(tmp_path):
    assert run(tmp_path, 'TrackletEncoder', 'mmcv', 'transformers', 'decord', 'scipy',
               'tqdm') == 'cosam_mm.apis.tracklet_encoder False'


def test_names_are_found():
    assert {'ActionRecognizer', 'TrackletEncoder', '__version__'} <= set(dir(cosam_mm))
    assert cosam_mm.TrackletEncoder is cosam_mm.TrackletEncoder
    with pytest.raises(AttributeError, match="'cosam_mm' has no attribute 'Nothing'"):
        _ = cosam_mm.Nothing
    assert not hasattr(cosam_mm, 'Nothing')

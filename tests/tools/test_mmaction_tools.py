"""MMAction2's own train.py and test.py, the ones in its wheel, run these configs."""
import re
from importlib import util
from pathlib import Path

import pytest

from tests.tool_process import run_fresh

THEIRS = Path(util.find_spec('mmaction').origin).parent / '.mim' / 'tools'


@pytest.mark.skipif(not THEIRS.is_dir(), reason='this mmaction2 carries no tools')
def test_they_resume_and_test(nest, first_epoch, tiny_config, demo_root, tmp_path):
    """In a folder of its own, with the data where the configs look for it."""
    (tmp_path / 'data').mkdir()
    (tmp_path / 'data' / 'demo').symlink_to(demo_root)

    done = run_fresh(THEIRS / 'train.py', tiny_config, '--resume', first_epoch,
                     cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert 'resumed epoch: 1, iter: 2' in done.stdout
    assert 'Epoch(train) [2][2/2]' in done.stdout

    done = nest.ok(THEIRS / 'test.py', tiny_config, 'work_dirs/tiny/epoch_2.pth',
                   '--dump', 'scores.pkl', cwd=tmp_path)
    assert re.search(r'Epoch\(test\) \[1/1\] +acc/top1: [01]\.\d+', done.stdout)
    assert (tmp_path / 'scores.pkl').stat().st_size > 0

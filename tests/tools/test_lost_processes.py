"""Two processes of a tool, one of which is killed: what is left, said and resumed."""
import json
import sys
from pathlib import Path

import pytest

from projects.fault_injection.launched import Launched
from tests.tool_process import run_fresh

pytestmark = pytest.mark.skipif(
    not Path('/proc/self/environ').exists(), reason='processes are found by /proc')

# torch's launcher kills after 30 s who does not listen; workers look for their parent
# every 5 s.
BOUND = 40
ARMED = """
_base_ = [{base!r}]
custom_imports = dict(imports=['cosam_mm', 'projects.fault_injection.faults'])
train_dataloader = dict(batch_size=1, num_workers=1)
test_dataloader = dict(num_workers=1)
"""


@pytest.fixture
def armed(tiny_config, tmp_path):
    path = tmp_path / 'armed.py'
    path.write_text(ARMED.format(base=str(tiny_config)))
    return path


def assert_ended(run):
    assert run.wait_for_all(BOUND) is not None, run.text()
    assert run.launcher.returncode not in (0, None)
    return run.text()


def test_one_is_killed_in_a_test(armed, trained, demo_root, tmp_path):
    """The second one, at its second batch; both have a worker."""
    run = Launched(
        'tools/dist_test.sh',
        [armed, trained / 'epoch_2.pth', 2, '--data-root', demo_root, '--dump',
         'scores.npz', '--cfg-options', 'test_dataloader.batch_size=1'],
        tmp_path / 'log', fault='1 2 in a test')
    text = assert_ended(run)
    assert 'rank      : 1' in text
    assert 'Signal 9 (SIGKILL) received' in text
    assert 'acc/top1: ' not in text
    assert not (tmp_path / 'scores.npz').exists()


@pytest.mark.slow
@pytest.mark.parametrize('family', ['action', 'reid'])
def test_kills_and_stops(family, repo, tmp_path):
    """The loop: random moments, the launcher too, the same weights in the end."""
    done = run_fresh(sys.executable, '-m', 'projects.fault_injection', 'processes',
                     '--families', family, '--count', 1,
                     '--json', tmp_path / 'trials.json', cwd=repo)
    assert done.returncode == 0, done.stdout + done.stderr
    trials = json.loads((tmp_path / 'trials.json').read_text())
    assert (trials['tried'], trials['lost']) == (2, 0)

"""One small training that the tests of all command-line tools start from."""
from pathlib import Path

import pytest
import torch

from cosam_mm.utils.io import read_checkpoint
from tests.action_data import write_data_root
from tests.tool_process import run_fresh

TINY = """
_base_ = [{base!r}]
train_cfg = dict(max_epochs=2, val_interval=1)
model = dict(backbone=dict(base_channels=8))  # half as wide, for time
in_process = dict(num_workers=0, persistent_workers=False)
train_dataloader = dict(batch_size=2, **in_process)
val_dataloader = in_process
test_dataloader = in_process
default_hooks = dict(logger=dict(interval=1))
"""


@pytest.fixture(scope='session')
def demo_root(tmp_path_factory) -> Path:
    """Data root of 8 classes: clips of 20 frames, shorter than the config's 32."""
    return write_data_root(tmp_path_factory.mktemp('data') / 'my demo', 'demo', 8)


@pytest.fixture(scope='session')
def tiny_config(repo, tmp_path_factory) -> Path:
    """The demo config for two epochs of two batches, in one process."""
    path = tmp_path_factory.mktemp('config') / 'tiny.py'
    path.write_text(TINY.format(
        base=str(repo / 'configs' / 'resnext14_cosam_bert_demo.py')))
    return path


@pytest.fixture(scope='session')
def training(repo, tiny_config, demo_root, tmp_path_factory):
    """A finished training of split 1: (process, folder it was started in)."""
    cwd = tmp_path_factory.mktemp('elsewhere')
    done = run_fresh(repo / 'tools' / 'train.py', tiny_config, '--data-root', demo_root,
                     '--split', 1, '--seed', 0, cwd=cwd)
    return done, cwd


@pytest.fixture(scope='session')
def trained(training) -> Path:
    """Work dir of the finished training."""
    done, cwd = training
    assert done.returncode == 0, done.stderr
    return cwd / 'work_dirs' / 'tiny' / 'split1'


@pytest.fixture(scope='session')
def first_epoch(trained, tmp_path_factory) -> Path:
    """The checkpoint of the first epoch, without a best one to take the place of.

    mmengine would delete the best checkpoint of ``trained`` on resuming elsewhere.
    """
    checkpoint = read_checkpoint(trained / 'epoch_1.pth')
    checkpoint['message_hub']['runtime_info'].pop('best_ckpt', None)
    path = tmp_path_factory.mktemp('first') / 'epoch_1.pth'
    torch.save(checkpoint, path)
    return path

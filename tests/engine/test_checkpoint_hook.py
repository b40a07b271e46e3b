"""The checkpoint hook in real trainings of a model of two numbers."""
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.model import BaseModel
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch.utils.data import Dataset

from cosam_mm.engine.hooks import SafeCheckpointHook
from cosam_mm.engine.hooks.checkpoint_files import describe_damage
from cosam_mm.engine.runner.stop_signals import TrainingStopped

NUM_BATCHES = 3
COUNTER = iter(range(10_000))


class Model(BaseModel):
    """A line through noise; dropout makes it draw."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.line = torch.nn.Linear(4, 1)
        self.drop = torch.nn.Dropout(0.5)

    def forward(self, inputs, mode='tensor'):
        output = self.line(self.drop(torch.stack(inputs)))
        return dict(loss=output.square().mean()) if mode == 'loss' else [output.mean()]


class Noise(Dataset):
    metainfo = dict(dataset='noise', split=1)

    def __len__(self):
        return 2 * NUM_BATCHES

    def __getitem__(self, index):
        return dict(inputs=torch.rand(4))


class Scripted(BaseMetric):
    """Scores of epoch 1, 2, 3, ... as a test wants them."""

    default_prefix = 'm'
    scores = ()

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        from mmengine.logging import MessageHub
        epoch = MessageHub.get_current_instance().get_info('epoch')
        return dict(score=self.scores[epoch])


@pytest.fixture(autouse=True)
def _clean_up():
    handlers = {number: signal.getsignal(number)
                for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in handlers.items():  # trainings that fail leave theirs
        signal.signal(number, handler)
    for name in [name for name in MMLogger._instance_dict if 'safe ' in name]:
        for handler in MMLogger._instance_dict.pop(name).handlers:
            handler.close()


class Do(Hook):
    """Does something at a stage of a training."""

    def __init__(self, stage, action, priority='NORMAL'):
        self.priority = priority
        setattr(self, stage, lambda runner, **kwargs: action(runner))


def make_runner(work_dir, epochs=3, resume=False, scores=(1, 1, 1, 1, 1), hooks=(),
                counts=1, checkpoint=(), load_from=None, val_interval=1):
    loader = dict(batch_size=2, num_workers=0, dataset=Noise(),
                  sampler=dict(type='DefaultSampler', shuffle=False),
                  collate_fn=dict(type='pseudo_collate'))
    metric = Scripted()
    metric.scores = scores
    return Runner(
        model=Model(), work_dir=str(work_dir), resume=resume, load_from=load_from,
        train_dataloader=loader, val_dataloader=dict(loader, dataset=Noise()),
        val_cfg=dict(), val_evaluator=[metric], randomness=dict(seed=1),
        train_cfg=dict(by_epoch=True, max_epochs=epochs, val_interval=val_interval),
        optim_wrapper=dict(optimizer=dict(type='Adam', lr=.1),
                           accumulative_counts=counts),
        param_scheduler=dict(type='ReduceOnPlateauLR', monitor='m/score',
                             rule='greater', patience=1, factor=.5),
        default_hooks=dict(
            checkpoint=dict(type='SafeCheckpointHook', interval=1,
                            **{'save_best': 'm/score', 'rule': 'greater',
                               'max_keep_ckpts': 2, **dict(checkpoint)}),
            sampler_seed=dict(type='SeededSamplingHook')),
        visualizer=dict(type='Visualizer', name=f'safe {next(COUNTER)}',
                        vis_backends=[dict(type='FaultTolerantVisBackend')]),
        custom_hooks=list(hooks), experiment_name=f'safe {next(COUNTER)}',
        default_scope='mmengine', cfg=dict())


def names(folder):
    return sorted(path.name for path in Path(folder).glob('*.pth'))


def load(path):
    return torch.load(path, weights_only=True)


def log_of(runner, level):
    file, = (handler.baseFilename for handler in runner.logger.handlers
             if isinstance(handler, logging.FileHandler))
    return '\n'.join(line for line in Path(file).read_text().splitlines()
                     if f' {logging.getLevelName(level)} ' in line)


def assert_same_end(one, other, epoch=3):
    """Weights, optimiser and schedule of the last checkpoints."""
    one, other = (load(Path(folder) / f'epoch_{epoch}.pth') for folder in (one, other))
    for name in one['state_dict']:
        assert torch.equal(one['state_dict'][name], other['state_dict'][name]), name
    assert str(one['optimizer']) == str(other['optimizer'])
    assert one['param_schedulers'] == other['param_schedulers']
    for name in ('best_score', 'keep_ckpt_ids'):
        assert (one['message_hub']['runtime_info'].get(name)
                == other['message_hub']['runtime_info'].get(name))


def stop_at(stage, occasion, error=KeyboardInterrupt):
    """A hook that ends a training the hard way."""
    calls = iter(range(1, 1000))

    def stop(runner):
        if next(calls) == occasion:
            raise error

    return Do(stage, stop, priority='LOWEST')


@pytest.fixture(scope='module')
def calm(tmp_path_factory):
    """A training that nobody disturbs, of the scores 1, 3, 2."""
    folder = tmp_path_factory.mktemp('calm')
    make_runner(folder, scores=(1, 3, 2)).train()
    return folder


def test_names_are_those_of_mmengine(calm):
    assert names(calm) == ['best_m_score_epoch_2.pth', 'epoch_2.pth', 'epoch_3.pth']
    assert (calm / 'last_checkpoint').read_text() == str(calm / 'epoch_3.pth')
    assert all(describe_damage(path) is None for path in calm.glob('*.pth'))
    info = load(calm / 'epoch_3.pth')['message_hub']['runtime_info']
    assert info['best_score'] == 3
    assert info['best_ckpt'] == str(calm / 'best_m_score_epoch_2.pth')
    assert info['keep_ckpt_ids'] == [2, 3]


def on_rename(monkeypatch, action):
    """Call ``action(name, rename)`` in place of the renaming of a written file."""
    rename = os.replace
    monkeypatch.setattr(os, 'replace', lambda source, target: action(
        Path(target).name, lambda: rename(source, target)))


def test_old_ones_go_after_the_new_one_is_there(tmp_path, monkeypatch):
    before = {}

    def look(name, rename):
        before.setdefault(name, names(tmp_path))
        rename()

    on_rename(monkeypatch, look)
    make_runner(tmp_path, scores=(1, 3, 2), checkpoint=dict(max_keep_ckpts=1)).train()
    assert before['epoch_2.pth'] == ['best_m_score_epoch_1.pth', 'epoch_1.pth']
    assert 'best_m_score_epoch_1.pth' in before['best_m_score_epoch_2.pth']
    assert before['epoch_3.pth'] == ['best_m_score_epoch_2.pth', 'epoch_2.pth']
    assert names(tmp_path) == ['best_m_score_epoch_2.pth', 'epoch_3.pth']


@pytest.mark.parametrize(('stage', 'occasion'), [
    ('after_train_iter', 2), ('after_train_epoch', 1), ('before_val_epoch', 2),
    ('after_val_iter', 5), ('after_val_epoch', 2), ('before_save_checkpoint', 3),
    ('before_save_checkpoint', 5)])
def test_stopped_and_resumed(calm, tmp_path, stage, occasion):
    """The schedule counts every validation once, that of a stopped epoch too."""
    with pytest.raises(KeyboardInterrupt):
        make_runner(tmp_path, scores=(1, 3, 2),
                    hooks=[stop_at(stage, occasion)]).train()
    make_runner(tmp_path, scores=(1, 3, 2), resume=True).train()
    assert_same_end(tmp_path, calm)
    assert names(tmp_path) == names(calm)


def test_finished_training_is_not_validated_again(calm, tmp_path):
    before = load(calm / 'epoch_3.pth')
    seen = []
    make_runner(tmp_path, resume=True, load_from=str(calm / 'epoch_3.pth'),
                hooks=[Do('before_val_epoch', seen.append)]).train()
    assert not seen
    assert before['meta']['awaits_validation'] is False


def test_gradients_that_wait_are_kept(tmp_path):
    """Two batches to a step, three to an epoch: an epoch ends between two steps."""
    make_runner(tmp_path / 'calm', counts=2,
                checkpoint=dict(max_keep_ckpts=3)).train()
    stored = load(tmp_path / 'calm' / 'epoch_1.pth')
    gradients, = stored['gradients_of_processes']
    assert set(gradients) == {'line.weight', 'line.bias'}
    assert gradients['line.weight'].abs().sum() > 0
    assert 'gradients_of_processes' not in load(tmp_path / 'calm' / 'epoch_2.pth')
    with pytest.raises(KeyboardInterrupt):
        make_runner(tmp_path / 'stopped', counts=2,
                    hooks=[stop_at('after_val_epoch', 1)],
                    checkpoint=dict(max_keep_ckpts=3)).train()
    make_runner(tmp_path / 'stopped', counts=2, resume=True,
                checkpoint=dict(max_keep_ckpts=3)).train()
    assert_same_end(tmp_path / 'calm', tmp_path / 'stopped')


def test_damaged_newest_is_named_and_the_one_before_used(calm, tmp_path):
    shutil.copytree(calm, tmp_path, dirs_exist_ok=True)
    newest = tmp_path / 'epoch_3.pth'
    newest.write_bytes(newest.read_bytes()[:-9])
    runner = make_runner(tmp_path, scores=(1, 3, 2), resume=True)
    runner.train()
    warnings = log_of(runner, logging.WARNING)
    assert f'{newest} is damaged' in warnings
    assert f'The training goes on from {tmp_path / "epoch_2.pth"}.' in warnings
    assert_same_end(tmp_path, calm)


def test_empty_last_checkpoint(calm, tmp_path):
    shutil.copytree(calm, tmp_path, dirs_exist_ok=True)
    (tmp_path / 'last_checkpoint').write_text('')
    (tmp_path / '.epoch_4.pth.7.partial').write_text('half')
    runner = make_runner(tmp_path, scores=(1, 3, 2), resume=True)
    runner.train()
    assert f'goes on from {tmp_path / "epoch_3.pth"}' in log_of(runner, logging.WARNING)
    assert not list(tmp_path.glob('.*.partial'))


def test_nothing_to_resume_begins_as_told(tmp_path, calm):
    weights = str(calm / 'epoch_3.pth')
    (tmp_path / 'last_checkpoint').write_text('/nowhere/epoch_9.pth')
    begun = []

    def look(runner):
        begun.append((runner.epoch, runner.model.line.weight.detach().clone()))

    runner = make_runner(tmp_path, epochs=1, resume=True,
                         hooks=[Do('before_train', look)],
                         checkpoint=dict(start_from=weights))
    runner.train()
    ((epoch, weight),) = begun
    assert epoch == 0
    assert torch.equal(weight, load(weights)['state_dict']['line.weight'])
    assert 'the training starts anew' in log_of(runner, logging.INFO)


def test_named_checkpoint_that_is_damaged_is_refused(calm, tmp_path):
    path = tmp_path / 'epoch_3.pth'
    path.write_bytes((calm / 'epoch_3.pth').read_bytes()[:-40])
    runner = make_runner(tmp_path, resume=True, load_from=str(path))
    with pytest.raises(ValueError, match=r'epoch_3\.pth is damaged'):
        runner.train()


def refuse(monkeypatch, refused):
    """A disk that has no room for files of a name."""
    def maybe(name, rename):
        if name == refused:
            raise OSError(28, 'No space left on device')
        rename()

    on_rename(monkeypatch, maybe)


def test_a_checkpoint_that_is_refused_is_not_the_newest(calm, tmp_path, monkeypatch):
    refuse(monkeypatch, 'epoch_2.pth')
    runner = make_runner(tmp_path, scores=(1, 3, 2))
    runner.train()
    warning = log_of(runner, logging.WARNING)
    assert re.search(r'epoch_2\.pth .*No space .*epoch_1\.pth', warning)
    assert names(tmp_path) == ['best_m_score_epoch_2.pth', 'epoch_1.pth', 'epoch_3.pth']
    info = load(tmp_path / 'epoch_3.pth')['message_hub']['runtime_info']
    assert info['keep_ckpt_ids'] == [1, 3]
    assert not list(tmp_path.glob('.*.partial'))


def test_refused_best_is_not_the_best(tmp_path, monkeypatch):
    refuse(monkeypatch, 'best_m_score_epoch_2.pth')
    make_runner(tmp_path, scores=(1, 3, 2)).train()
    info = load(tmp_path / 'epoch_3.pth')['message_hub']['runtime_info']
    assert (info['best_score'], info['best_ckpt']) == (
        2, str(tmp_path / 'best_m_score_epoch_3.pth'))
    assert names(tmp_path) == ['best_m_score_epoch_3.pth', 'epoch_2.pth', 'epoch_3.pth']


def test_refused_end_is_an_error(tmp_path, monkeypatch):
    refuse(monkeypatch, 'epoch_3.pth')
    with pytest.raises(RuntimeError, match=r'epoch_3\.pth .*No space .*epoch_2\.pth'):
        make_runner(tmp_path).train()
    monkeypatch.undo()
    make_runner(tmp_path, resume=True).train()
    make_runner(tmp_path / 'calm').train()
    assert_same_end(tmp_path, tmp_path / 'calm')


@pytest.mark.parametrize(('stage', 'occasion', 'iteration', 'file'), [
    ('before_train_iter', 2, 2, 'iter_2.pth'),
    ('before_train_iter', 6, 6, 'epoch_2.pth'),
    ('before_val_iter', 2, 3, 'epoch_1.pth'),
    ('before_val_epoch', 3, 9, 'epoch_3.pth')])
def test_stops_when_asked_to(calm, tmp_path, stage, occasion, iteration, file):
    calls = iter(range(1, 1000))

    def ask(runner):
        if next(calls) == occasion:
            os.kill(os.getpid(), signal.SIGTERM)

    runner = make_runner(tmp_path, scores=(1, 3, 2), hooks=[Do(stage, ask)])
    with pytest.raises(TrainingStopped) as stopped:
        runner.train()
    assert stopped.value.code == 143
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN  # a second one is none
    warnings = log_of(runner, logging.WARNING)
    assert 'SIGTERM: the training stops after this iteration.' in warnings
    assert (f'Stopped by SIGTERM after iteration {iteration} of 9: --resume goes on '
            f'from {tmp_path / file}.') in warnings
    make_runner(tmp_path, scores=(1, 3, 2), resume=True).train()
    assert_same_end(tmp_path, calm)
    assert names(tmp_path) == names(calm)  # none of the middle of an epoch is left


FULL_DISK = """
import sys
sys.path.insert(0, {repo!r})
from tests.engine.test_checkpoint_hook import make_runner
folder = {folder!r}
filler = folder + '/filler'

def fill(runner):
    if runner.epoch == 1:
        with open(filler, 'wb', buffering=0) as file:
            try:
                while True:
                    file.write(bytes(1 << 12))
            except OSError:
                pass

from tests.engine.test_checkpoint_hook import Do
make_runner(folder, scores=(1, 1, 1), hooks=[Do('before_train_epoch', fill)]).train()
"""


@pytest.fixture
def small_disk(tmp_path):
    """A file system of half a megabyte, where we may make one."""
    if os.system(f'mount -t tmpfs -o size=512k none {tmp_path} 2>/dev/null'):
        pytest.skip('no right to mount a file system')
    yield tmp_path
    assert os.system(f'umount -l {tmp_path}') == 0  # logs are still open


def test_full_disk_for_real(small_disk, repo):
    """Nor does what the log backend cannot write end the training."""
    code = FULL_DISK.format(repo=str(repo), folder=str(small_disk))
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert re.search(r'RuntimeError: The training has ended, but .*epoch_3\.pth could '
                     r'not be written \(No space left on device\)', done.stderr)
    assert names(small_disk) == ['best_m_score_epoch_1.pth', 'epoch_1.pth']
    assert all(describe_damage(path) is None for path in small_disk.glob('*.pth'))
    (small_disk / 'filler').unlink()
    runner = make_runner(small_disk, resume=True)
    assert runner.epoch == 0
    runner.train()
    assert names(small_disk)[1:] == ['epoch_2.pth', 'epoch_3.pth']


def test_read_only_folder_for_real(small_disk):
    """The file system becomes read-only in the second epoch, and writable again."""
    def remount(runner):
        mode = {1: 'ro', 2: 'rw'}.get(runner.epoch)
        if mode:
            for handler in runner.logger.handlers:
                if isinstance(handler, logging.FileHandler):
                    handler.close()
                    runner.logger.handlers.remove(handler)
            assert os.system(f'mount -o remount,{mode} {small_disk}') == 0

    runner = make_runner(small_disk, hooks=[Do('before_train_epoch', remount)])
    runner.train()
    assert names(small_disk) == ['best_m_score_epoch_1.pth', 'epoch_1.pth',
                                 'epoch_3.pth']
    assert all(describe_damage(path) is None for path in small_disk.glob('*.pth'))


def test_is_the_hook_of_all_configs(repo):
    from mmengine.config import Config
    paths = [path for path in (repo / 'configs').rglob('*.py')
             if path.parent.name in ('configs', 'reid')]
    assert len(paths) > 50
    for path in paths:
        hooks = Config.fromfile(path).default_hooks
        assert hooks.checkpoint.type == 'SafeCheckpointHook', path
        assert hooks.sampler_seed.type == 'SeededSamplingHook', path
    assert isinstance(HOOKS.build(dict(type='SafeCheckpointHook')), SafeCheckpointHook)


@pytest.mark.parametrize('how', ['absolute', 'relative'])
def test_a_foreign_checkpoint_has_no_other_files_removed(tmp_path, how):
    """Names in a checkpoint are data of whoever wrote it."""
    work_dir, mine = tmp_path / 'work', tmp_path / 'mine.pth'
    make_runner(work_dir, epochs=1).train()
    mine.write_text('years of work')
    (work_dir / 'notes.txt').write_text('mine, too')
    (work_dir / 'epoch_').mkdir()
    name = str(mine) if how == 'absolute' else '../mine.pth'
    checkpoint = load(work_dir / 'epoch_1.pth')
    checkpoint['message_hub']['runtime_info'].update(
        outdated_ckpts=[name, 'notes.txt'], ckpt_within_epoch=name,
        keep_ckpt_ids=['/../../mine', 1])
    for key in ('outdated_ckpts', 'ckpt_within_epoch', 'keep_ckpt_ids'):
        checkpoint['message_hub']['resumed_keys'][key] = True
    torch.save(checkpoint, work_dir / 'epoch_1.pth')
    make_runner(work_dir, epochs=3, resume=True, checkpoint=dict(max_keep_ckpts=1)
                ).train()
    assert mine.read_text() == 'years of work'
    assert (work_dir / 'notes.txt').exists()
    assert 'epoch_3.pth' in names(work_dir)
    assert 'epoch_1.pth' not in names(work_dir)

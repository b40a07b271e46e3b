"""The checkpoint hook in real trainings of a model of two numbers."""
import logging
import os
import re
import shutil
import signal
from itertools import count
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.registry import HOOKS
from torch.utils.data import Dataset

from cosam_mm.engine.hooks import (
    MaskVisualizationHook,
    MeanLossHook,
    NaNLossHook,
    ProgressBarHook,
    SplitLeakageHook,
    UnreadableSamplesHook,
)
from cosam_mm.engine.runner.stop_signals import TrainingStopped
from cosam_mm.utils.checkpoint_integrity import describe_damage
from cosam_mm.utils.io import read_checkpoint
from projects.fault_injection.hostile_files import flip_a_bit
from tests.small_runs import Do, loader_of, log_of, small_runner

pytestmark = pytest.mark.usefixtures('clean_up_runs')

NUM_BATCHES = 3


class Model(BaseModel):
    """A line through noise, with dropout."""

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


def make_runner(work_dir, epochs=3, resume=False, scores=(1, 1, 1, 1, 1), hooks=(),
                counts=1, checkpoint=(), load_from=None):
    metric = Scripted()
    metric.scores = scores
    return small_runner(
        work_dir, Model(), loader_of(Noise()), epochs, hooks, resume=resume,
        load_from=load_from, val_dataloader=loader_of(Noise()), val_cfg=dict(),
        val_evaluator=[metric], randomness=dict(seed=1), cfg=dict(),
        optim_wrapper=dict(optimizer=dict(type='Adam', lr=.1),
                           accumulative_counts=counts),
        param_scheduler=dict(type='ReduceOnPlateauLR', monitor='m/score',
                             rule='greater', patience=1, factor=.5),
        default_hooks=dict(
            checkpoint={'type': 'SafeCheckpointHook', 'interval': 1,
                        'save_best': 'm/score', 'rule': 'greater',
                        'max_keep_ckpts': 2, **dict(checkpoint)},
            sampler_seed=dict(type='SeededSamplingHook')))


def names(folder):
    return sorted(path.name for path in Path(folder).glob('*.pth'))


def load(path):
    return read_checkpoint(path)


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


def cut(path):
    path.write_bytes(path.read_bytes()[:-9])


def at(stage, occasion, action):
    """A hook that does something the nth time that a stage is reached."""
    calls = count(1)
    return Do(stage, lambda runner: next(calls) == occasion and action(),
              priority='LOWEST')


def stop_at(stage, occasion):
    """A hook that ends a training the hard way."""
    def stop():
        raise KeyboardInterrupt
    return at(stage, occasion, stop)


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


def before_rename(monkeypatch, action):
    """Call ``action(name)`` before a written file gets its name."""
    rename = os.replace
    monkeypatch.setattr(os, 'replace', lambda source, target: (
        action(Path(target).name), rename(source, target)))


def test_old_ones_go_after_the_new_one_is_there(tmp_path, monkeypatch):
    before = {}
    before_rename(monkeypatch,
                  lambda name: before.setdefault(name, names(tmp_path)))
    make_runner(tmp_path, scores=(1, 3, 2), checkpoint=dict(max_keep_ckpts=1)).train()
    assert before['epoch_2.pth'] == ['best_m_score_epoch_1.pth', 'epoch_1.pth']
    assert 'best_m_score_epoch_1.pth' in before['best_m_score_epoch_2.pth']
    assert before['epoch_3.pth'] == ['best_m_score_epoch_2.pth', 'epoch_2.pth']
    assert names(tmp_path) == ['best_m_score_epoch_2.pth', 'epoch_3.pth']


@pytest.mark.parametrize(('stage', 'occasion'), [
    ('after_train_iter', 2), ('before_val_epoch', 2), ('after_val_epoch', 2),
    ('before_save_checkpoint', 3), ('before_save_checkpoint', 5)])
def test_stopped_and_resumed(calm, tmp_path, stage, occasion):
    """The schedule counts every validation once, that of a stopped epoch too."""
    with pytest.raises(KeyboardInterrupt):
        make_runner(tmp_path, scores=(1, 3, 2),
                    hooks=[stop_at(stage, occasion)]).train()
    make_runner(tmp_path, scores=(1, 3, 2), resume=True).train()
    assert_same_end(tmp_path, calm)
    assert names(tmp_path) == names(calm)


def test_finished_training_is_not_validated_again(calm, tmp_path):
    assert load(calm / 'epoch_3.pth')['meta']['awaits_validation'] is False
    seen = []
    make_runner(tmp_path, resume=True, load_from=str(calm / 'epoch_3.pth'),
                hooks=[Do('before_val_epoch', seen.append)]).train()
    assert not seen


def test_gradients_that_wait_are_kept(tmp_path):
    """Two batches to a step, three to an epoch: an epoch ends between two steps."""
    settings = dict(counts=2, checkpoint=dict(max_keep_ckpts=3))
    make_runner(tmp_path / 'calm', **settings).train()
    stored = load(tmp_path / 'calm' / 'epoch_1.pth')
    gradients, = stored['gradients_of_processes']
    assert set(gradients) == {'line.weight', 'line.bias'}
    assert gradients['line.weight'].abs().sum() > 0
    assert 'gradients_of_processes' not in load(tmp_path / 'calm' / 'epoch_2.pth')
    with pytest.raises(KeyboardInterrupt):
        make_runner(tmp_path / 'stopped', hooks=[stop_at('after_val_epoch', 1)],
                    **settings).train()
    del stored['gradients_of_processes']
    torch.save(stored, tmp_path / 'lost.pth')
    for path, is_lost in ((None, False), (str(tmp_path / 'lost.pth'), True)):
        runner = make_runner(tmp_path / 'stopped', resume=True, load_from=path,
                             **settings)
        runner.train()
        assert ('is lost' in log_of(runner, logging.WARNING)) is is_lost
        if not is_lost:
            assert_same_end(tmp_path / 'calm', tmp_path / 'stopped')


@pytest.mark.parametrize(('damage', 'said', 'used'), [
    (lambda folder: cut(folder / 'epoch_3.pth'), 'epoch_3.pth is damaged', 2),
    (lambda folder: (folder / 'last_checkpoint').write_text(''), 'last_checkpoint', 3)])
def test_damage_is_named_and_the_newest_whole_one_used(
        calm, tmp_path, damage, said, used):
    shutil.copytree(calm, tmp_path, dirs_exist_ok=True)
    (tmp_path / '.epoch_4.pth.7.partial').write_text('half')
    damage(tmp_path)
    runner = make_runner(tmp_path, scores=(1, 3, 2), resume=True)
    runner.train()
    warnings = log_of(runner, logging.WARNING)
    assert said in warnings
    assert f'goes on from {tmp_path / f"epoch_{used}.pth"}' in warnings
    assert_same_end(tmp_path, calm)
    assert not list(tmp_path.glob('.*.partial'))


def test_nothing_to_resume_begins_as_told(tmp_path, calm):
    weights = str(calm / 'epoch_3.pth')
    (tmp_path / 'last_checkpoint').write_text('/nowhere/epoch_9.pth')
    begun = []
    runner = make_runner(
        tmp_path, epochs=1, resume=True, checkpoint=dict(start_from=weights), hooks=[
            Do('before_train', lambda runner: begun.append(
                (runner.epoch, runner.model.line.weight.tolist())))])
    runner.train()
    assert begun == [(0, load(weights)['state_dict']['line.weight'].tolist())]
    assert 'the training starts anew' in log_of(runner, logging.INFO)


def test_named_checkpoint_that_is_damaged_is_refused(calm, tmp_path):
    path = tmp_path / 'epoch_3.pth'
    shutil.copy(calm / 'epoch_3.pth', path)
    cut(path)
    runner = make_runner(tmp_path, resume=True, load_from=str(path))
    with pytest.raises(ValueError, match='damaged'):
        runner.train()


def refuse(monkeypatch, refused):
    """A disk that has no room for files of a name."""
    def maybe(name):
        if name == refused:
            raise OSError(28, 'No space left on device')

    before_rename(monkeypatch, maybe)


@pytest.mark.parametrize(('refused', 'kept', 'files', 'best'), [
    ('epoch_2.pth', [1, 3], ['best_m_score_epoch_2', 'epoch_1', 'epoch_3'], 2),
    ('best_m_score_epoch_2.pth', [2, 3],
     ['best_m_score_epoch_3', 'epoch_2', 'epoch_3'], 3)])
def test_what_is_refused_is_neither_newest_nor_best(
        tmp_path, monkeypatch, refused, kept, files, best):
    refuse(monkeypatch, refused)
    runner = make_runner(tmp_path, scores=(1, 3, 2))
    runner.train()
    assert re.search(f'{refused} .*No space .*epoch_[12].pth',
                     log_of(runner, logging.WARNING))
    assert names(tmp_path) == [f'{name}.pth' for name in files]
    info = load(tmp_path / 'epoch_3.pth')['message_hub']['runtime_info']
    assert info['keep_ckpt_ids'] == kept
    assert info['best_ckpt'] == str(tmp_path / f'best_m_score_epoch_{best}.pth')
    assert not list(tmp_path.glob('.*.partial'))


@pytest.mark.parametrize(('stage', 'occasion', 'iteration', 'file'), [
    ('before_train_iter', 2, 2, 'iter_2.pth'),
    ('before_train_iter', 6, 6, 'epoch_2.pth'),
    ('before_val_iter', 2, 3, 'epoch_1.pth'),
    ('before_val_epoch', 3, 9, 'epoch_3.pth')])
def test_stops_when_asked_to(calm, tmp_path, stage, occasion, iteration, file):
    runner = make_runner(tmp_path, scores=(1, 3, 2), hooks=[
        at(stage, occasion, lambda: os.kill(os.getpid(), signal.SIGTERM))])
    with pytest.raises(TrainingStopped) as stopped:
        runner.train()
    assert stopped.value.code == 143
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN  # a second one is none
    last = log_of(runner, logging.WARNING).splitlines()[-1]
    for part in ('SIGTERM', f'iteration {iteration} of 9', str(tmp_path / file)):
        assert part in last
    runner = make_runner(tmp_path, scores=(1, 3, 2), resume=True)
    runner.train()
    assert 'not defined' not in log_of(runner, logging.WARNING)
    assert_same_end(tmp_path, calm)
    assert names(tmp_path) == names(calm)  # none of the middle of an epoch is left


FULL_DISK = """
import resource, signal
from pathlib import Path
from tests.engine.test_checkpoint_hook import Do, make_runner

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
before = resource.getrlimit(resource.RLIMIT_FSIZE)

def fill(runner):
    if runner.epoch == 1:  # from now on no file takes more than 100 bytes
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))

try:
    make_runner('work', scores=(1, 1, 1), hooks=[Do('before_train_epoch', fill)]
                ).train()
except RuntimeError as error:
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    Path('error').write_text(str(error))
"""


def test_no_room_for_real(nest, tmp_path):
    """Nor does what logger and log backend cannot write end the training."""
    nest.run_code(FULL_DISK, tmp_path)
    assert re.search(r'epoch_3\.pth .*too large', (tmp_path / 'error').read_text())
    folder = tmp_path / 'work'
    assert names(folder) == ['best_m_score_epoch_1.pth', 'epoch_1.pth']
    assert all(describe_damage(path) is None for path in folder.glob('*.pth'))
    runner = make_runner(folder, resume=True)
    assert runner.epoch == 0
    runner.train()
    assert names(folder)[1:] == ['epoch_2.pth', 'epoch_3.pth']
    make_runner(tmp_path / 'calm').train()
    assert_same_end(folder, tmp_path / 'calm')


@pytest.mark.parametrize('runtime', ['default_runtime', 'reid_runtime'])
def test_shipped_runs_have_the_hooks(repo, runtime):
    cfg = Config.fromfile(repo / 'configs' / '_base_' / f'{runtime}.py')
    assert cfg.default_hooks.checkpoint.type == 'SafeCheckpointHook'
    assert cfg.default_hooks.sampler_seed.type == 'SeededSamplingHook'
    hooks = {type(hook): hook for hook in map(HOOKS.build, cfg.custom_hooks)}
    assert hooks[NaNLossHook].on_bad_loss == 'stop'
    assert hooks[MaskVisualizationHook].num_samples == 2
    assert {MeanLossHook, UnreadableSamplesHook, SplitLeakageHook,
            ProgressBarHook} <= hooks.keys()
    assert cfg.env_cfg.dist_cfg.timeout == 1800


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


def foreign(content):
    """No checkpoint of the run that it is beside."""
    content['meta']['seed'] += 1


def another_epoch(content):
    content['meta'].update(epoch=9, iter=99)


def another_model(content):
    content['state_dict']['more'] = torch.zeros(1)


@pytest.mark.parametrize('what', [
    'folder', 'text', 'link', 'name', 'below', 'elsewhere', foreign, another_epoch,
    another_model])
@pytest.mark.parametrize('hooks', [
    dict(), dict(type='CheckpointHook')])  # mmengine's own, beside SplitLeakageHook
def test_the_best_checkpoint_is_removed_only_if_this_run_wrote_it(
        tmp_path, what, hooks):
    """A resume from a file of a stranger, that calls something else its best."""
    work_dir, own = tmp_path / 'work', 'best_m_score_epoch_1.pth'
    make_runner(work_dir, epochs=1).train()
    victim = dict(text=work_dir / 'thesis.tex', name=work_dir / 'best_x.pth',
                  below=work_dir / 'kept' / own, elsewhere=tmp_path / own,
                  folder=work_dir / 'best_data_epoch_1.pth').get(what, work_dir / own)
    victim.parent.mkdir(exist_ok=True)
    if victim != work_dir / own:
        shutil.copy(work_dir / own, victim)
    if what == 'text':
        victim.write_text('years of work')
    elif what == 'folder':
        victim.unlink()
        victim.mkdir()
        (victim / 'data').write_text('years of work')
    elif what == 'link':
        victim.rename(tmp_path / own)
        victim.symlink_to(tmp_path / own)
    elif callable(what):
        content = load(victim)
        what(content)
        torch.save(content, victim)
    checkpoint = load(work_dir / 'epoch_1.pth')
    checkpoint['message_hub']['runtime_info'].update(
        best_ckpt=str(victim), last_ckpt=str(victim), outdated_ckpts=[victim.name],
        ckpt_within_epoch=victim.name)
    torch.save(checkpoint, work_dir / 'epoch_1.pth')
    make_runner(work_dir, epochs=2, resume=True, scores=(1, 2), checkpoint=hooks,
                hooks=[dict(type='SplitLeakageHook')] if hooks else [],
                load_from=str(work_dir / 'epoch_1.pth')).train()
    assert 'best_m_score_epoch_2.pth' in names(work_dir)
    assert victim.exists()
    assert (victim.is_symlink(), victim.is_dir()) == (what == 'link', what == 'folder')


@pytest.mark.parametrize('hooks', [dict(), dict(type='CheckpointHook')])
def test_its_own_best_checkpoint_is_removed(tmp_path, hooks):
    make_runner(tmp_path, epochs=1).train()
    make_runner(tmp_path, epochs=2, resume=True, scores=(1, 2), checkpoint=hooks,
                hooks=[dict(type='SplitLeakageHook')] if hooks else [],
                load_from=str(tmp_path / 'epoch_1.pth')).train()
    assert 'best_m_score_epoch_2.pth' in names(tmp_path)
    assert 'best_m_score_epoch_1.pth' not in names(tmp_path)


@pytest.mark.parametrize('how', ['damaged', 'refused by a hook'])
def test_a_failed_resume_leaves_torch_as_strict_as_before(calm, tmp_path, how):
    path = tmp_path / 'epoch_3.pth'
    shutil.copy(calm / 'epoch_3.pth', path)
    hooks = []
    if how == 'damaged':
        flip_a_bit(path)
    else:
        hooks = [Do('after_load_checkpoint', lambda runner: 1 / 0)]
    runner = make_runner(tmp_path, resume=True, load_from=str(path), hooks=hooks)
    before = torch.serialization.get_safe_globals()
    with pytest.raises((ValueError, ZeroDivisionError)):
        runner.train()
    assert torch.serialization.get_safe_globals() == before

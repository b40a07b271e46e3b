"""The hook in real runs of mmengine's Runner: train, save, resume, test."""
import logging
from pathlib import Path

import pytest
import torch
from mmengine.dataset import BaseDataset
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger
from mmengine.model import BaseModel
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import nn

from cosam_mm.engine.hooks import SplitLeakageHook
from cosam_mm.engine.hooks.split_leakage_hook import trained_on_test_clips


class Clips(BaseDataset):
    """Four random vectors that claim to be a split of a data set."""

    def __init__(self, metainfo):
        super().__init__(lazy_init=True)
        self._metainfo = dict(metainfo)
        self.full_init()

    def load_data_list(self):
        return [dict(value=float(k)) for k in range(4)]

    def prepare_data(self, idx):
        return dict(inputs=torch.full((3,), float(idx)))


class Head(nn.Module):

    def __init__(self, num_classes):
        super().__init__()
        self.fc_cls = nn.Linear(5, num_classes)


class Model(BaseModel):

    def __init__(self, num_classes=4, extra=False):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5))
        self.cls_head = Head(num_classes)
        if extra:
            self.neck = nn.Linear(5, 5)

    def forward(self, inputs, mode='tensor'):
        score = self.cls_head.fc_cls(self.backbone(torch.stack(inputs)))
        return dict(loss=score.square().mean()) if mode == 'loss' else list(score)


class Count(BaseMetric):
    default_prefix = 'count'

    def process(self, data_batch, data_samples):
        self.results.extend([1] * len(data_samples))

    def compute_metrics(self, results):
        return dict(num=sum(results))


def meta(split=1, dataset='hmdb51', classes=('wave', 'run')):
    return dict(dataset=dataset, split=split, classes=classes)


def loader(metainfo, shuffle=False):
    return dict(
        batch_size=4, num_workers=0, dataset=Clips(metainfo),
        sampler=dict(type='DefaultSampler', shuffle=shuffle),
        collate_fn=dict(type='pseudo_collate'))


COUNTER = iter(range(10_000))


def make_runner(work_dir, model=None, train=None, test=None, force=False, epochs=1,
                other_hooks=(), **kwargs):
    hooks = [*other_hooks, dict(type='SplitLeakageHook', force=force)]
    if train is not None:
        kwargs.update(
            train_dataloader=loader(train),
            train_cfg=dict(by_epoch=True, max_epochs=epochs),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=.1)))
    if test is not None:
        kwargs.update(test_dataloader=loader(test), test_cfg=dict(),
                      test_evaluator=[Count()])
    return Runner(
        model=model or Model(), work_dir=str(work_dir), custom_hooks=hooks,
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1)),
        experiment_name=f'leakage {next(COUNTER)}', default_scope='mmengine',
        cfg=dict(custom_hooks=hooks), **kwargs)


@pytest.fixture(autouse=True)
def _close_logs():
    yield
    for name in [name for name in MMLogger._instance_dict if 'leakage ' in name]:
        for handler in MMLogger._instance_dict.pop(name).handlers:
            handler.close()


@pytest.fixture
def checkpoint(tmp_path):
    """A checkpoint that mmengine wrote after a training on split 1 of hmdb51."""
    make_runner(tmp_path / 'train', train=meta()).train()
    return str(tmp_path / 'train' / 'epoch_1.pth')


def log_of(runner, level):
    """Lines of a level in the log file of a run."""
    file, = (handler.baseFilename for handler in runner.logger.handlers
             if isinstance(handler, logging.FileHandler))
    return '\n'.join(line for line in Path(file).read_text().splitlines()
                     if f' {logging.getLevelName(level)} ' in line)


class TestRealRuns:

    def test_is_registered_at_the_root(self):
        hook = HOOKS.build(dict(type='SplitLeakageHook', force=True))
        assert isinstance(hook, SplitLeakageHook)
        assert hook.force

    def test_same_split(self, checkpoint, tmp_path):
        runner = make_runner(tmp_path, test=meta(), load_from=checkpoint)
        assert runner.test() == {'count/num': 4}
        assert not log_of(runner, logging.WARNING)

    def test_checkpoint_says_what_it_was_trained_on(self, checkpoint):
        stored = torch.load(checkpoint, weights_only=True)['meta']
        assert stored['dataset_meta'] == meta()
        assert stored['trained_on'] == [dict(dataset='hmdb51', split=1)]

    def test_other_split(self, checkpoint, tmp_path):
        runner = make_runner(tmp_path, test=meta(split=2), load_from=checkpoint)
        with pytest.raises(RuntimeError, match=(
                r'split 1 of hmdb51 .* split 2.*--split 1.*custom_hooks\.0\.force')):
            runner.test()

    def test_other_split_by_force(self, checkpoint, tmp_path):
        runner = make_runner(
            tmp_path, test=meta(split=2), load_from=checkpoint, force=True)
        assert runner.test() == {'count/num': 4}
        warnings = log_of(runner, logging.WARNING)
        assert warnings.count('split 1 of hmdb51') == 1

    def test_other_data_set(self, checkpoint, tmp_path):
        runner = make_runner(
            tmp_path, test=meta(dataset='ucf101', split=2), load_from=checkpoint)
        assert runner.test() == {'count/num': 4}

    def test_class_names_as_list_are_the_same(self, checkpoint, tmp_path):
        runner = make_runner(
            tmp_path, test=meta(classes=['wave', 'run'], split='1'),
            load_from=checkpoint)
        runner.test()
        assert not log_of(runner, logging.WARNING)

    def test_other_class_names(self, checkpoint, tmp_path):
        runner = make_runner(
            tmp_path, test=meta(classes=('wave', 'walk')), load_from=checkpoint)
        runner.test()
        assert "Label 1 is 'run'" in log_of(runner, logging.WARNING)

    def test_other_number_of_classes(self, checkpoint, tmp_path):
        for force in (False, True):
            runner = make_runner(
                tmp_path, Model(num_classes=7), test=meta(), load_from=checkpoint,
                force=force)
            with pytest.raises(RuntimeError, match=r'4 classes, the config 7'):
                runner.test()

    def test_missing_parameters(self, checkpoint, tmp_path):
        runner = make_runner(
            tmp_path, Model(extra=True), test=meta(), load_from=checkpoint)
        with pytest.raises(RuntimeError, match=r'neck\.weight'):
            runner.test()

    @pytest.mark.parametrize('wrapped', [True, False])
    def test_converted_weights(self, tmp_path, wrapped):
        state = {f'module.{name}': value for name, value in Model().state_dict().items()
                 if 'num_batches_tracked' not in name}
        path = str(tmp_path / 'converted.pth')
        torch.save(dict(state_dict=state) if wrapped else state, path)
        runner = make_runner(tmp_path, test=meta(), load_from=path)
        assert runner.test() == {'count/num': 4}
        assert 'does not say' in log_of(runner, logging.INFO)

    def test_without_checkpoint(self, tmp_path):
        assert make_runner(tmp_path, test=meta()).test() == {'count/num': 4}

    def test_resume(self, checkpoint, tmp_path):
        runner = make_runner(
            tmp_path, train=meta(), load_from=checkpoint, resume=True, epochs=2)
        runner.train()
        assert runner.epoch == 2

    def test_resume_with_another_model(self, checkpoint, tmp_path):
        runner = make_runner(
            tmp_path, Model(num_classes=7), train=meta(), load_from=checkpoint,
            resume=True, epochs=2)
        with pytest.raises(RuntimeError, match='4 classes, the config 7.*[Rr]esume'):
            runner.train()

    def test_fine_tuning_and_its_test(self, checkpoint, tmp_path):
        """Other classes are trained anew, so that the test after it is sound."""
        ucf = meta(dataset='ucf101', split=3)
        runner = make_runner(
            tmp_path / 'tune', Model(num_classes=7), train=ucf, test=ucf,
            load_from=checkpoint)
        runner.train()
        assert runner.test() == {'count/num': 4}

    def test_split_of_the_training_of_this_run(self, tmp_path):
        runner = make_runner(tmp_path, train=meta(split=3), test=meta(split=1))
        runner.train()
        with pytest.raises(RuntimeError, match='split 3 .* split 1'):
            runner.test()

    def test_what_was_trained_on_before_is_not_forgotten(self, checkpoint, tmp_path):
        other = meta(dataset='ucf101')
        make_runner(tmp_path / 'tune', train=other, load_from=checkpoint).train()
        runner = make_runner(
            tmp_path, test=meta(split=2),
            load_from=str(tmp_path / 'tune' / 'epoch_1.pth'))
        with pytest.raises(RuntimeError, match='split 1 of hmdb51'):
            runner.test()

    def test_average_of_weights(self, tmp_path):
        """EMAHook changes the checkpoint when it is saved and loaded."""
        ema = dict(type='EMAHook')
        make_runner(tmp_path, train=meta(), other_hooks=[ema]).train()
        path = str(tmp_path / 'epoch_1.pth')
        runner = make_runner(
            tmp_path, test=meta(), other_hooks=[ema], load_from=path)
        assert runner.test() == {'count/num': 4}
        runner = make_runner(
            tmp_path, train=meta(), other_hooks=[ema], load_from=path, resume=True,
            epochs=2)
        runner.train()
        assert runner.epoch == 2
        runner = make_runner(
            tmp_path, test=meta(split=2), other_hooks=[ema], load_from=path)
        with pytest.raises(RuntimeError, match=r'custom_hooks\.1\.force=True'):
            runner.test()


@pytest.mark.parametrize(('trained', 'tested'), [
    ({}, {}),
    (dict(split=1), dict(split=2)),
    (dict(dataset='a', split=1), dict(dataset='b', split=2)),
    (dict(dataset='a', split=1), dict(dataset='a')),
    (dict(dataset='a'), dict(dataset='a', split=1)),
    (dict(dataset='a', split=1), dict(dataset='a', split=1)),
])
def test_no_leak(trained, tested):
    assert trained_on_test_clips(trained, tested) is None

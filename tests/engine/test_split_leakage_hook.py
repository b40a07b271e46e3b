"""The hook in real runs of mmengine's Runner: train, save, resume, test."""
import copy
import logging

import pytest
import torch
from mmengine.dataset import BaseDataset
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn

from cosam_mm.engine.hooks.split_leakage_hook import trained_on_test_clips
from cosam_mm.utils.io import read_checkpoint
from tests.small_runs import loader_of, log_of, unique_name

pytestmark = pytest.mark.usefixtures('clean_up_runs')


class Clips(BaseDataset):
    """Four random vectors that claim to be a split of a data set, and to be files."""

    def __init__(self, metainfo, files=None):
        super().__init__(lazy_init=True)
        self._metainfo, self.files = dict(metainfo), files
        self.full_init()

    def load_data_list(self):
        return [dict(value=float(k)) if self.files is None
                else dict(filename=str(self.files[k])) for k in range(4)]

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


def clips_of(one):
    return one if isinstance(one, BaseDataset) else Clips(one)


def make_runner(work_dir, model=None, train=None, test=None, force=False, epochs=1,
                other_hooks=(), **kwargs):
    hooks = [*other_hooks, dict(type='SplitLeakageHook', force=force)]
    if train is not None:
        kwargs.update(
            train_dataloader=loader_of(clips_of(train), 4),
            train_cfg=dict(by_epoch=True, max_epochs=epochs),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=.1)))
    if test is not None:
        kwargs.update(test_dataloader=loader_of(clips_of(test), 4), test_cfg=dict(),
                      test_evaluator=[Count()])
    return Runner(
        model=model or Model(), work_dir=str(work_dir), custom_hooks=hooks,
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1)),
        experiment_name=unique_name(), default_scope='mmengine',
        cfg=dict(custom_hooks=hooks), **kwargs)


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    """A checkpoint that mmengine wrote after a training on split 1 of hmdb51."""
    folder = tmp_path_factory.mktemp('train')
    make_runner(folder, train=meta()).train()
    return str(folder / 'epoch_1.pth')


def test_checkpoint_says_what_it_was_trained_on(checkpoint):
    stored = read_checkpoint(checkpoint)['meta']
    assert stored['dataset_meta'] == meta()
    assert stored['trained_on'] == [dict(dataset='hmdb51', split=1)]


@pytest.mark.parametrize(('tested', 'force', 'warned'), [
    (meta(), False, None), (meta(classes=['wave', 'run'], split='1'), False, None),
    (meta(dataset='ucf101', split=2), False, None),
    (meta(split=2), True, 'split 1 of hmdb51'),
    (meta(classes=('wave', 'walk')), False, "Label 1 is 'run'")])
def test_sound_or_forced(checkpoint, tmp_path, tested, force, warned):
    runner = make_runner(tmp_path, test=tested, load_from=checkpoint, force=force)
    assert runner.test() == {'count/num': 4}
    warnings = log_of(runner, logging.WARNING)
    assert warnings.count(warned) == 1 if warned else not warnings


@pytest.mark.parametrize(('model', 'tested', 'force', 'message'), [
    ({}, meta(split=2), False,
     r'split 1 of hmdb51 .* split 2.*--split 1.*custom_hooks\.0\.force'),
    (dict(num_classes=7), meta(), False, '4 classes, the config 7'),
    (dict(num_classes=7), meta(), True, '4 classes, the config 7'),
    (dict(extra=True), meta(), False, r'neck\.weight')])
def test_refused(checkpoint, tmp_path, model, tested, force, message):
    runner = make_runner(tmp_path, Model(**model), test=tested, load_from=checkpoint,
                         force=force)
    with pytest.raises(RuntimeError, match=message):
        runner.test()


@pytest.mark.parametrize('wrapped', [True, False])
def test_converted_weights(tmp_path, wrapped):
    state = {f'module.{name}': value for name, value in Model().state_dict().items()
             if 'num_batches_tracked' not in name}
    path = str(tmp_path / 'converted.pth')
    torch.save(dict(state_dict=state) if wrapped else state, path)
    runner = make_runner(tmp_path, test=meta(), load_from=path)
    assert runner.test() == {'count/num': 4}
    assert 'not known' in log_of(runner, logging.INFO)


def test_without_checkpoint(tmp_path):
    assert make_runner(tmp_path, test=meta()).test() == {'count/num': 4}


def test_resume(checkpoint, tmp_path):
    runner = make_runner(tmp_path, train=meta(), load_from=checkpoint, resume=True,
                         epochs=2)
    runner.train()
    assert runner.epoch == 2
    runner = make_runner(tmp_path, Model(num_classes=7), train=meta(),
                         load_from=checkpoint, resume=True, epochs=2)
    with pytest.raises(RuntimeError, match='4 classes, the config 7.*[Rr]esume'):
        runner.train()


def test_fine_tuning_and_tests_after_it(checkpoint, tmp_path):
    """Other classes are trained anew; what was seen before is not forgotten."""
    ucf = meta(dataset='ucf101', split=3)
    runner = make_runner(tmp_path / 'tune', Model(num_classes=7), train=ucf, test=ucf,
                         load_from=checkpoint)
    runner.train()
    assert runner.test() == {'count/num': 4}
    for tested, message in ((meta(dataset='ucf101'), 'split 3 of ucf101'),
                            (meta(split=2), 'split 1 of hmdb51')):
        runner = make_runner(tmp_path, Model(num_classes=7), test=tested,
                             load_from=str(tmp_path / 'tune' / 'epoch_1.pth'))
        with pytest.raises(RuntimeError, match=message):
            runner.test()


def test_fine_tuning_says_in_one_line_what_is_taken(checkpoint, tmp_path):
    """The head has other classes, the neck is new."""
    model = Model(num_classes=7, extra=True)
    fresh = copy.deepcopy(model.state_dict())
    loaded = read_checkpoint(checkpoint)['state_dict']
    runner = make_runner(tmp_path, model, train=meta(), load_from=checkpoint)
    runner.optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.))
    runner.train()
    line, = (line for line in log_of(runner, logging.INFO).splitlines()
             if ' of the ' in line)
    for word in (checkpoint, '7 of the 11', 'cls_head.fc_cls.weight', 'neck.weight'):
        assert word in line
    for name, value in model.named_parameters():
        assert torch.equal(value, loaded[name] if 'backbone' in name else fresh[name])


def test_split_of_the_training_of_this_run(tmp_path):
    runner = make_runner(tmp_path, train=meta(split=3), test=meta(split=1))
    runner.train()
    with pytest.raises(RuntimeError, match='split 3 .* split 1'):
        runner.test()


def test_average_of_weights(tmp_path):
    """EMAHook changes the checkpoint when it is saved and loaded."""
    hooks = [dict(type='EMAHook')]
    make_runner(tmp_path, train=meta(), other_hooks=hooks).train()
    path = str(tmp_path / 'epoch_1.pth')
    runner = make_runner(tmp_path, test=meta(), other_hooks=hooks, load_from=path)
    assert runner.test() == {'count/num': 4}
    make_runner(tmp_path, train=meta(), other_hooks=hooks, load_from=path, resume=True,
                epochs=2).train()
    runner = make_runner(tmp_path, test=meta(split=2), other_hooks=hooks,
                         load_from=path)
    with pytest.raises(RuntimeError, match=r'custom_hooks\.1\.force=True'):
        runner.test()


@pytest.mark.parametrize(('trained', 'tested'), [
    ({}, {}), (dict(split=1), dict(split=2)),
    (dict(dataset='a', split=1), dict(dataset='a')),
    (dict(dataset='a'), dict(dataset='a', split=1))])
def test_no_leak_is_known(trained, tested):
    assert trained_on_test_clips(trained, tested) is None


# -- by content -----------------------------------------------------------------


@pytest.fixture
def files(tmp_path):
    """Makes four files of a beginning of their content."""

    def make(text):
        paths = [tmp_path / f'{text} {k}.avi' for k in range(4)]
        for k, path in enumerate(paths):
            path.write_bytes(f'{text} {k} '.encode() * 9000)
        return paths
    return make


def test_content_counts_and_names_do_not(files, tmp_path):
    seen, new = files('a'), files('b')
    make_runner(tmp_path / 'one', train=Clips(meta(), seen)).train()
    make_runner(tmp_path / 'two', train=Clips(meta(dataset='other', split=None), new),
                load_from=str(tmp_path / 'one' / 'epoch_1.pth')).train()
    one, two = (str(tmp_path / name / 'epoch_1.pth') for name in ('one', 'two'))
    for path, tested, message in (
            (one, Clips(meta(), new[:3] + seen[3:]), r'1 of the 4 clips.*a 3\.avi'),
            (one, Clips(meta(split=2, dataset='renamed'), seen), '4 of the 4'),
            (two, Clips(meta(split=2), seen), 'split 1 of hmdb51.*--split 1'),
            (two, Clips(meta(), [*files('c')[:3], new[2]]), 'on other and')):
        runner = make_runner(tmp_path, test=tested, load_from=path)
        with pytest.raises(RuntimeError, match=message):
            runner.test()
    for path, tested in ((one, Clips(meta(split=2), new)), (two, Clips(meta(split=2),
                                                                       files('d')))):
        runner = make_runner(tmp_path, test=tested, load_from=path)
        assert runner.test() == {'count/num': 4}
        assert 'not known' not in log_of(runner, logging.INFO)


def test_validation_on_what_is_trained_on(files, tmp_path):
    seen = Clips(meta(), files('a'))
    for tested, count in ((seen, 1), (Clips(meta(split=2), files('b')), 0)):
        runner = make_runner(
            tmp_path / str(count), train=seen, val_dataloader=loader_of(tested, 4),
            val_evaluator=[Count()], val_cfg=dict())
        runner.train()
        assert log_of(runner, logging.WARNING).count('4 of the 4 clips') == count


@pytest.mark.parametrize('history', [
    5, ['x'], [dict(dataset='hmdb51', split=1, content='x')],
    [dict(content=torch.ones(2, 2))]])
def test_a_history_that_is_none(checkpoint, files, tmp_path, history):
    content = read_checkpoint(checkpoint)
    content['meta']['trained_on'] = history
    torch.save(content, tmp_path / 'odd.pth')
    runner = make_runner(tmp_path, test=Clips(meta(), files('a')),
                         load_from=str(tmp_path / 'odd.pth'))
    assert runner.test() == {'count/num': 4}


def test_parameters_that_the_model_lacks(checkpoint, tmp_path):
    content = read_checkpoint(checkpoint)
    name = 'backbone.plugins.after_layer3.0.summary.0.weight'
    content['state_dict'][name] = torch.zeros(1)
    torch.save(content, tmp_path / 'more.pth')
    runner = make_runner(tmp_path, test=meta(), load_from=str(tmp_path / 'more.pth'))
    with pytest.raises(RuntimeError, match='COSAM backbone.plugins.after_layer3'):
        runner.test()

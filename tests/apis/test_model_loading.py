"""Checkpoints read without running them, and models filled whole or not at all."""
import copy
import math
import os
from collections import OrderedDict

import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from torch import nn

from cosam_mm.apis.model_loading import (
    TrainedModel,
    describe_misfit,
    find_checkpoint,
    load_weights,
    read_trained_model,
    weights_sha256,
)
from cosam_mm.layers import COSAM
from cosam_mm.utils.io import read_checkpoint
from tests.engine.test_split_leakage_hook import make_runner, meta
from tests.layers.test_cosam import randomized

CFG = "model = dict(type='A', depth=2)\n"


class Net(BaseModel):
    """Vectors of 3 numbers as clips of 2 channels, through a COSAM, to 4 classes."""

    def __init__(self, num_frames=3, spatial_size=(2, 2), **cosam):
        super().__init__()
        self.cosam = COSAM(2, num_frames, spatial_size, reduction_channels=3,
                           summary_channels=2, **cosam)
        self.fc_cls = nn.Linear(2, 4)
        self.shape = (2, num_frames, *spatial_size)

    def forward(self, inputs, mode='tensor'):
        x = torch.stack(inputs).mean(1)[:, None, None, None, None]
        pattern = torch.linspace(-1, 1, math.prod(self.shape)).view(self.shape)
        score = self.fc_cls(self.cosam(x * pattern).flatten(2).mean(2))
        return dict(loss=score.square().mean()) if mode == 'loss' else list(score)


def net():
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


def in_memory(state_dict):
    return TrainedModel('a.pth', Config(), state_dict)


def assert_equal(model, expected):
    """Every parameter and buffer of a model is the one in ``expected``."""
    for name, value in model.state_dict().items():
        assert torch.equal(value, expected[name]), name


@pytest.fixture
def save(tmp_path):
    def save(state_dict, **meta):
        path = str(tmp_path / 'a.pth')
        torch.save(dict(state_dict=state_dict, meta=meta), path)
        return path
    return save


class TestFindCheckpoint:

    def test_newest_best_one(self, tmp_path):
        for name, age in (('split1/iter_90', 0), ('split1/epoch_9', 9),
                          ('split1/epoch_10', 8), ('split1/best_acc_epoch_3', 20),
                          ('split2/best_acc_epoch_2', 10)):
            path = tmp_path / f'{name}.pth'
            path.parent.mkdir(exist_ok=True)
            path.touch()
            os.utime(path, (10**9 - age, 10**9 - age))
        for expected in ('best_acc_epoch_2', 'best_acc_epoch_3', 'epoch_10', 'epoch_9',
                         'iter_90'):
            found = find_checkpoint(tmp_path)
            assert found.stem == expected
            found.unlink()
        with pytest.raises(FileNotFoundError, match='Train'):
            find_checkpoint(tmp_path)


class TestRead:

    def test_checkpoint_of_a_training(self, save):
        state = {f'module.{name}': value for name, value in net().state_dict().items()}
        path = save(state, cfg=CFG, seed=5, dataset_meta=dict(classes=['a', 'b']))
        trained = read_trained_model(path)
        assert (trained.path, trained.seed) == (path, 5)
        assert trained.config.model.depth == 2
        assert list(trained.class_names) == ['a', 'b']
        model = net()
        load_weights(model, trained)
        assert_equal(model, {name[7:]: value for name, value in state.items()})

    def test_given_config_takes_precedence(self, save):
        path = save(net().state_dict(), cfg=CFG)
        given = read_trained_model(path, Config(dict(randomness=dict(seed=3))))
        assert 'model' not in given.config
        assert (given.seed, given.class_names) == (3, None)
        assert read_trained_model(path).seed == 0

    @pytest.mark.parametrize('meta', [{}, dict(cfg=7)])
    def test_without_config(self, save, meta):
        with pytest.raises(ValueError, match='config'):
            read_trained_model(save(net().state_dict(), **meta))

    def test_other_files(self, tmp_path):
        with pytest.raises(FileNotFoundError, match='no.pth'):
            read_trained_model(tmp_path / 'no.pth')
        (tmp_path / 'text.pth').write_text('hello')
        with pytest.raises(ValueError, match='text.pth'):
            read_trained_model(tmp_path / 'text.pth')


class TestLoadWeights:

    @pytest.mark.parametrize(('changes', 'lost', 'word'), [
        ({}, '0.bias', '0.bias'),
        ({'0.weight': torch.zeros(2, 9)}, None, r'0.weight \(2, 9\)'),
        ({f'cosam.{k}': torch.zeros(1) for k in range(7)}, None, '2 more')])
    def test_misfit_changes_nothing(self, changes, lost, word):
        state = dict(net().state_dict(), **changes)
        state.pop(lost, None)
        model = net()
        before = copy.deepcopy(model.state_dict())
        with pytest.raises(ValueError, match=word):
            load_weights(model, in_memory(state))
        assert_equal(model, before)

    def test_unused_parts_and_counters_may_be_missing(self):
        source, model = net(), net()
        state = dict(source.state_dict(), **{'head.w': torch.zeros(1)})
        del state['1.num_batches_tracked']
        load_weights(model, in_memory(state), unused=['head.'])
        assert_equal(model, source.state_dict())
        with pytest.raises(ValueError, match='head.w'):
            load_weights(model, in_memory(state))

    @pytest.mark.parametrize('prefix', ['', 'module.'])
    def test_other_size_of_clips(self, save, prefix):
        path = save(randomized(Net()).state_dict(prefix=prefix), cfg='a = 1\n')
        model, expected = Net(6, (3, 5)), Net(6, (3, 5))
        # The metadata that names the size survives the removal of parameters.
        load_weights(model, read_trained_model(path), unused=['none.'])
        expected.load_state_dict(randomized(Net()).state_dict())
        assert model.cosam.summary[0].weight.shape == (2, 75, 1, 1)
        assert_equal(model, expected.state_dict())

    def test_unknown_size_of_clips_changes_nothing(self):
        model = randomized(Net(6, (3, 5)), seed=1)
        before = copy.deepcopy(model.state_dict())
        with pytest.raises(ValueError, match='trained_size'):
            load_weights(model, in_memory(OrderedDict(randomized(Net()).state_dict())))
        assert_equal(model, before)

    def test_other_number_of_classes_beside_another_size(self):
        state = Net().state_dict()
        state['fc_cls.weight'] = torch.zeros(7, 2)
        with pytest.raises(ValueError, match='7 classes'):
            load_weights(Net(4), in_memory(state))


def test_misfit_of_resampled_parameters():
    found, wanted = {'a': (2, 3), 'b': (1,)}, {'a': (2, 9), 'b': (1,)}
    assert describe_misfit(found, wanted, {'a'}) is None
    assert 'a (2, 3), (2, 9)' in describe_misfit(found, wanted, {'b'})


@pytest.mark.parametrize(('names', 'said', 'unsaid'), [
    (('reduction.0.bias', 'summary.1.bias'), 'has COSAM b.0, the', 'bias'),
    (('channel_attention.0.bias',), 'b.0.channel_attention.0.bias', 'has COSAM')])
def test_misfit_names_plugins_that_are_absent(names, said, unsaid):
    """A plugin that both have in part is no absent one."""
    own = {f'b.0.{name}': (1,) for name in names}
    both = {'x': (1,), **({'b.0.reduction.0.bias': (1,)} if len(names) == 1 else {})}
    for pair in (({**both, **own}, both), (both, {**both, **own})):
        message = describe_misfit(*pair)
        assert said in message
        assert unsaid not in message


def test_sha256_of_weights():
    model = net()
    first = weights_sha256(model.state_dict())
    assert len(first) == 64
    with torch.no_grad():
        model[1].num_batches_tracked += 5
    assert weights_sha256(copy.deepcopy(model).state_dict()) == first
    with torch.no_grad():
        model[1].running_mean[0] += 1e-6
    # Same bytes, another shape; half and bfloat16 of one value differ in type.
    wide, tall = nn.Linear(4, 1, bias=False), nn.Linear(1, 4, bias=False)
    for layer in (wide, tall):
        nn.init.zeros_(layer.weight)
    others = [model, wide, tall, copy.deepcopy(wide).half(),
              copy.deepcopy(wide).bfloat16()]
    assert len({first, *(weights_sha256(one.state_dict()) for one in others)}) == 6
    # A number without dimensions; rows that do not lie one after the other in memory.
    part = nn.Module()
    part.register_buffer('scale', torch.tensor(3.))
    part.register_buffer('rows', torch.arange(6.).reshape(2, 3).T)
    before = weights_sha256(part.state_dict())
    part.rows = part.rows.contiguous()
    assert weights_sha256(part.state_dict()) == before


class TestRunsAtAnotherSize:

    @pytest.fixture
    def checkpoint(self, tmp_path):
        """What mmengine's runner wrote after a training at 3 x 2 x 2."""
        make_runner(tmp_path / 'train', Net(), train=meta()).train()
        return str(tmp_path / 'train' / 'epoch_1.pth')

    @pytest.mark.parametrize('hooks', [[], [dict(type='EMAHook')]])
    def test_fine_tuning(self, checkpoint, tmp_path, hooks):
        runner = make_runner(tmp_path, Net(5, (4, 4)), train=meta(), test=meta(),
                             load_from=checkpoint, other_hooks=hooks)
        runner.train()
        assert runner.test() == {'count/num': 4}
        state = read_checkpoint(tmp_path / 'epoch_1.pth')['state_dict']
        assert state._metadata['cosam']['volume_size'] == (4, 4, 4)

    @pytest.mark.parametrize('size', [(5, (4, 4)), (3, (4, 1))])
    def test_resuming_is_refused(self, checkpoint, tmp_path, size):
        """Also where there are as many scores."""
        runner = make_runner(tmp_path, Net(*size), train=meta(), load_from=checkpoint,
                             resume=True, epochs=2)
        with pytest.raises(RuntimeError, match='load_from'):
            runner.train()

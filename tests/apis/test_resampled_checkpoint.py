"""Checkpoints with a COSAM of another size, through the checks that come before use."""
import logging
import math
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.model import BaseModel
from torch import nn

from cosam_mm.apis.trained_model import (
    TrainedModel,
    describe_misfit,
    load_weights,
    read_trained_model,
)
from cosam_mm.layers import COSAM
from tests.engine.test_split_leakage_hook import make_runner, meta
from tests.layers.test_cosam import randomized


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


def trained(state_dict):
    return TrainedModel('a.pth', Config(), state_dict, None)


@pytest.fixture
def checkpoint(tmp_path):
    """What mmengine's runner wrote after a training at 3 x 2 x 2."""
    make_runner(tmp_path / 'train', Net(), train=meta()).train()
    return str(tmp_path / 'train' / 'epoch_1.pth')


class TestLoadWeights:

    @pytest.mark.parametrize('prefix', ['', 'module.'])
    def test_other_size(self, tmp_path, prefix):
        state = randomized(Net()).state_dict(prefix=prefix)
        torch.save(dict(state_dict=state, meta=dict(cfg='a = 1\n')), tmp_path / 'a.pth')
        model, expected = Net(6, (3, 5)), Net(6, (3, 5))
        load_weights(model, read_trained_model(str(tmp_path / 'a.pth')))
        expected.load_state_dict(randomized(Net()).state_dict())
        assert model.cosam.summary[0].weight.shape == (2, 75, 1, 1)
        for name, value in model.state_dict().items():
            assert torch.equal(value, expected.state_dict()[name])

    def test_size_that_cannot_be_told_fills_nothing(self):
        model = randomized(Net(6, (3, 5)), seed=1)
        before = {name: value.clone() for name, value in model.state_dict().items()}
        lost = OrderedDict(randomized(Net()).state_dict())
        with pytest.raises(ValueError, match=r'cosam\.summary\.0\.w.*trained_size'):
            load_weights(model, trained(lost))
        assert all(torch.equal(value, before[name])
                   for name, value in model.state_dict().items())

    def test_other_misfits_are_still_refused(self):
        state = Net().state_dict()
        state['fc_cls.weight'] = torch.zeros(7, 2)
        with pytest.raises(ValueError, match=r'1 parameter\(s\) differ .*fc_cls.we'):
            load_weights(Net(4), trained(state))

    def test_parts_that_are_not_needed_keep_the_size(self):
        model = Net(6, (3, 5))
        load_weights(model, trained(Net().state_dict()), unused=['none.'])


def test_describe_misfit_lets_resampled_parameters_pass():
    found, wanted = {'a': (2, 3), 'b': (1,)}, {'a': (2, 9), 'b': (1,)}
    assert describe_misfit(found, wanted, {'a'}) is None
    assert 'a (2, 3), (2, 9)' in describe_misfit(found, wanted, {'b'})


class TestRealRuns:

    def test_is_tested_at_another_size(self, checkpoint, tmp_path):
        runner = make_runner(tmp_path, Net(5, (4, 4)), test=meta(),
                             load_from=checkpoint)
        assert runner.test() == {'count/num': 4}
        file, = (handler.baseFilename for handler in runner.logger.handlers
                 if isinstance(handler, logging.FileHandler))
        lines = Path(file).read_text().splitlines()
        told = [line for line in lines if 'is resampled' in line]
        assert len(told) == 1
        assert 'from 2 x 2 x 2 scores' in told[0]
        assert 'to 4 x 4 x 4.' in told[0]

    def test_is_tuned_at_another_size_and_tested(self, checkpoint, tmp_path):
        for ema in ([], [dict(type='EMAHook')]):
            folder = tmp_path / str(len(ema))
            runner = make_runner(folder, Net(5, (4, 4)), train=meta(), test=meta(),
                                 load_from=checkpoint, other_hooks=ema)
            runner.train()
            assert runner.test() == {'count/num': 4}
            # The new checkpoint tells the new size.
            state = torch.load(folder / 'epoch_1.pth', weights_only=True)['state_dict']
            assert state._metadata['cosam']['volume_size'] == (4, 4, 4)

    @pytest.mark.parametrize('size', [(5, (4, 4)), (3, (4, 1))])
    def test_resuming_at_another_size_is_refused(self, checkpoint, tmp_path, size):
        """Also where there are as many scores."""
        runner = make_runner(tmp_path, Net(*size), train=meta(), load_from=checkpoint,
                             resume=True, epochs=2)
        with pytest.raises(RuntimeError, match=(
                r'another length or size of clips.*cosam\.summary\.0\.weight '
                r"\(2, 2, 2\), .*optimiser's state would not\. Resume with the "
                r'config of that training, or .*load_from without resume')):
            runner.train()


@pytest.fixture(autouse=True)
def _close_logs():
    yield
    for name in [name for name in MMLogger._instance_dict if 'guard ' in name]:
        for handler in MMLogger._instance_dict.pop(name).handlers:
            handler.close()

"""Checkpoints read without running them, and models filled whole or not at all."""
import copy

import pytest
import torch
from torch import nn

from cosam_mm.apis.trained_model import load_weights, read_trained_model, weights_sha256

CFG = "model = dict(type='A', depth=2)\n"


def net():
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


@pytest.fixture
def save(tmp_path):
    def save(state_dict, **meta):
        path = str(tmp_path / 'a.pth')
        torch.save(dict(state_dict=state_dict, meta=meta), path)
        return path
    return save


def test_reads_what_training_wrote(save):
    state = {f'module.{name}': value for name, value in net().state_dict().items()}
    path = save(state, cfg=CFG, dataset_meta=dict(classes=['a', 'b']))
    trained = read_trained_model(path)
    assert trained.path == path
    assert trained.config.model.depth == 2
    assert list(trained.class_names) == ['a', 'b']
    model = net()
    load_weights(model, trained)
    assert all(torch.equal(value, state[f'module.{name}'])
               for name, value in model.state_dict().items())


def test_given_config_goes_first(save):
    path = save(net().state_dict(), cfg=CFG)
    assert read_trained_model(path, {'x': 1}).config == {'x': 1}
    assert read_trained_model(path).class_names is None


@pytest.mark.parametrize('meta', [{}, dict(cfg=7)])
def test_no_config(save, meta):
    with pytest.raises(ValueError, match='a.pth holds no config: give the config file'):
        read_trained_model(save(net().state_dict(), **meta))


def test_other_files(tmp_path):
    with pytest.raises(FileNotFoundError, match='There is no checkpoint file .*no.pth'):
        read_trained_model(str(tmp_path / 'no.pth'))
    (tmp_path / 'text.pth').write_text('hello')
    with pytest.raises(ValueError, match='cannot be read as a PyTorch checkpoint'):
        read_trained_model(str(tmp_path / 'text.pth'))


def test_what_does_not_fit(save):
    state = net().state_dict()
    less = {name: value for name, value in state.items() if name != '0.bias'}
    more = dict(state, **{f'cosam.{k}': torch.zeros(1) for k in range(7)})
    other = dict(state, **{'0.weight': torch.zeros(2, 9)})
    for content, message in (
            (less, r'does not fit the model: .*not in the checkpoint: 0.bias'),
            (other, r'does not fit the model: .*differ in shape .*0.weight \(2, 9\)'),
            (more, r'7 parameter\(s\) of the checkpoint are not in the model: cosam.0, '
             r'.*cosam.4 and 2 more\. Give the config that')):
        model = net()
        before = copy.deepcopy(model.state_dict())
        with pytest.raises(ValueError, match=message):
            load_weights(model, read_trained_model(save(content, cfg=CFG)))
        assert all(torch.equal(value, before[name])
                   for name, value in model.state_dict().items())


def test_parts_that_are_not_needed(save):
    state = dict(net().state_dict(), **{'head.w': torch.zeros(1)})
    del state['1.num_batches_tracked']
    load_weights(net(), read_trained_model(save(state, cfg=CFG)), unused=['head.'])


def test_fingerprint():
    model = net()
    first = weights_sha256(model)
    assert len(first) == 64
    assert weights_sha256(copy.deepcopy(model)) == first
    with torch.no_grad():
        model[1].num_batches_tracked += 5
    assert weights_sha256(model) == first
    with torch.no_grad():
        model[1].running_mean[0] += 1e-6
    changed = weights_sha256(model)
    assert changed != first
    # Same bytes, another shape; half and bfloat16 of one value differ in type.
    wide, tall = nn.Linear(4, 1, bias=False), nn.Linear(1, 4, bias=False)
    tall.weight.data = wide.weight.data.T.contiguous()
    assert weights_sha256(wide) != weights_sha256(tall)
    for layer in (wide, tall):
        nn.init.zeros_(layer.weight)
    assert (weights_sha256(copy.deepcopy(wide).half())
            != weights_sha256(copy.deepcopy(wide).bfloat16()))
    # One number, without dimensions, that is not next to others in memory.
    part = nn.Module()
    part.register_buffer('scale', torch.tensor(3.))
    part.register_buffer('rows', torch.arange(6.).reshape(2, 3).T)
    before = weights_sha256(part)
    part.rows = part.rows.contiguous()
    assert weights_sha256(part) == before

"""Backbones of single frames: their authors' names and forms, files of weights."""
import logging
import re
from functools import partial

import pytest
import torch
from mmengine.registry import MODELS
from mmengine.runner import CheckpointLoader
from torch import nn

from cosam_mm.models.backbones import FrameResNet, FrameSEResNet
from cosam_mm.models.backbones import imagenet_weights as imagenet
from cosam_mm.models.backbones.frame_resnet import InstanceBatchNorm
from tests.reference import reference_names as names


def small(kind, **kwargs):
    return kind(depth=14, base_channels=8, **kwargs)


# -- structure ---------------------------------------------------------------


@pytest.mark.parametrize(('kind', 'listing', 'parameters'), [
    (FrameResNet, names.resnet, 23_508_032),
    (FrameSEResNet, names.se_resnet, 26_039_024)])
def test_names_and_sizes_are_the_authors(kind, listing, parameters):
    """torchvision's and Cadene's: those of the reference without its own prefixes."""
    renamed = {'base.0.': 'conv1.', 'base.1.': 'bn1.', 'base.4.': 'layer1.',
               'base.5.': 'layer2.', 'base.6.': 'layer3.', 'base.7.': 'layer4.',
               'base.': ''}
    expected = {}
    for name, shape in listing().items():
        prefix = next(old for old in renamed if name.startswith(old))
        expected[renamed[prefix] + name[len(prefix):]] = shape
    with torch.device('meta'):
        net = kind()
    assert {name: tuple(t.shape) for name, t in net.state_dict().items()} == expected
    assert sum(p.numel() for p in net.parameters()) == parameters


def test_ibn_has_the_published_names_and_sizes():
    """As ResNet-50, but bn1 of layer1 to layer3 in two halves."""
    with torch.device('meta'):
        plain, net = FrameResNet(), FrameResNet(ibn='a')
    expected = {}
    for name, tensor in plain.state_dict().items():
        block, _, kind = name.rpartition('.bn1.')
        if not re.match(r'layer[123]\.\d+$', block):
            expected[name] = tuple(tensor.shape)
            continue
        half = tuple(size // 2 for size in tensor.shape)
        expected[f'{block}.bn1.BN.{kind}'] = half
        if kind in ('weight', 'bias'):
            expected[f'{block}.bn1.IN.{kind}'] = half
    assert {name: tuple(t.shape) for name, t in net.state_dict().items()} == expected
    assert sum(p.numel() for p in net.parameters()) == 23_508_032


@pytest.mark.parametrize('channels', [8, 7])
def test_ibn_is_an_instance_norm_beside_a_batch_norm(channels):
    generator = torch.Generator().manual_seed(0)
    norm, half = InstanceBatchNorm(channels), channels // 2
    instance, batch = nn.InstanceNorm2d(half, affine=True), nn.BatchNorm2d(
        channels - half)
    for one, other in ((norm.IN, instance), (norm.BN, batch)):
        for parameter in one.parameters():
            nn.init.normal_(parameter, generator=generator)
        other.load_state_dict(one.state_dict())
    x = torch.randn(3, channels, 5, 4, generator=generator)
    for training in (True, False):
        for module in (norm, instance, batch):
            module.train(training)
        out = norm(x)
        torch.testing.assert_close(out[:, :half], instance(x[:, :half]))
        torch.testing.assert_close(out[:, half:], batch(x[:, half:]))
    torch.testing.assert_close(norm.BN.running_mean, batch.running_mean)


def test_norm_eval_and_frozen_stages_reach_ibn():
    net = small(FrameResNet, ibn='a', norm_eval=True, frozen_stages=1).train()
    assert not any(m.training for m in net.modules() if isinstance(m, nn.BatchNorm2d))
    frozen = {name.split('.')[0] for name, p in net.named_parameters()
              if not p.requires_grad}
    assert frozen == {'conv1', 'bn1', 'layer1'}


# -- files of ImageNet weights -----------------------------------------------


@pytest.mark.parametrize(('kind', 'classifier'), [
    (FrameResNet, 'fc'), (FrameSEResNet, 'last_linear'),
    (partial(FrameResNet, ibn='a'), 'fc')])
def test_published_files_load_but_for_the_classifier(kind, classifier, tmp_path,
                                                     caplog):
    torch.manual_seed(0)
    published = small(kind).state_dict()
    published = {name: value for name, value in published.items()
                 if not name.endswith('num_batches_tracked')}  # as old files are
    published[f'{classifier}.weight'] = torch.zeros(1000, 256)
    published[f'{classifier}.bias'] = torch.zeros(1000)
    torch.save(published, tmp_path / 'imagenet.pth')
    cosam = dict(type='COSAM', num_frames=2, spatial_size=(4, 2))
    net = small(kind, plugins=[dict(cfg=cosam, position='after_layer3')], init_cfg=dict(
        type='Pretrained', checkpoint=str(tmp_path / 'imagenet.pth')))
    attention = {k: v.clone() for k, v in net.plugins.state_dict().items()}
    with caplog.at_level(logging.WARNING):
        net.init_weights()
    for name, value in net.state_dict().items():
        if name in published:
            assert torch.equal(value, published[name]), name
    for name, value in net.plugins.state_dict().items():
        assert torch.equal(value, attention[name]), name


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A server of one file, and an empty cache; returns how to serve bytes."""
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'cache'))

    def serve(data, checksum=None):
        import hashlib
        checksum = checksum or hashlib.sha256(data).hexdigest()[:8]
        path = tmp_path / f'resnet50-{checksum}.pth'
        path.write_bytes(data)
        monkeypatch.setitem(imagenet.IMAGENET_WEIGHTS, 'resnet50', path.as_uri())
        return path

    return serve


def saved(content, tmp_path):
    torch.save(content, tmp_path / 'content')
    return (tmp_path / 'content').read_bytes()


def test_weights_by_name_are_downloaded_once(served, tmp_path):
    torch.manual_seed(0)
    expected = small(FrameResNet).state_dict()
    path = served(saved(dict(expected, **{'fc.bias': torch.zeros(1000)}), tmp_path))
    for _ in range(2):
        net = MODELS.build(dict(
            type='FrameResNet', depth=14, base_channels=8,
            init_cfg=dict(type='Pretrained', checkpoint='imagenet://resnet50')))
        net.init_weights()
        for name, value in net.state_dict().items():
            assert torch.equal(value, expected[name])
        path.unlink(missing_ok=True)  # the second time the cache has it
    assert (tmp_path / 'cache' / 'checkpoints' / path.name).is_file()


@pytest.mark.parametrize('changed', [True, False])
def test_weights_that_are_changed_or_cannot_be_reached(served, tmp_path, changed):
    path = served(saved({}, tmp_path), checksum='0676ba61')
    if not changed:
        path.unlink()
    with pytest.raises(OSError, match='init_cfg=None'):
        CheckpointLoader.load_checkpoint('imagenet://resnet50')
    assert not list((tmp_path / 'cache').rglob('*.pth'))


def test_no_code_of_a_weight_file_runs(served, tmp_path):
    served(saved(torch.nn.Linear(1, 1), tmp_path))
    with pytest.raises(Exception, match='weights_only'):
        CheckpointLoader.load_checkpoint('imagenet://resnet50')


# -- mistakes ----------------------------------------------------------------


@pytest.mark.parametrize(('call', 'message'), [
    (lambda: small(FrameResNet, ibn='b'), 'None'),
    (lambda: InstanceBatchNorm(1), 'channels'),
    (lambda: small(FrameSEResNet, reduction=0), 'base_channels = 32'),
    (lambda: small(FrameSEResNet, reduction=33), 'base_channels = 32'),
    (lambda: CheckpointLoader.load_checkpoint('imagenet://resnet18'), 'se_resnet50')])
def test_unknown_weights_and_wrong_settings_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()

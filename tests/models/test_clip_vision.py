"""CLIP's encoder as a backbone: names, sizes, published weights."""
import pickle
import sys

import pytest
import torch
from mmengine.registry import MODELS

from cosam_mm.models.backbones import CLIPVision

transformers = pytest.importorskip('transformers')

SMALL = dict(hidden_channels=16, num_layers=2, num_heads=4, ffn_channels=24,
             patch_size=8, pretrain_size=32)
THEIRS = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=4,
              intermediate_size=24, patch_size=8, image_size=32)


def small(**kwargs):
    return CLIPVision(**{**SMALL, **kwargs})


def published_names(num_layers, channels, ffn_channels, patch_size, positions):
    """Names and shapes in OpenAI's checkpoints on the hub."""
    shapes = {
        'embeddings.class_embedding': (channels,),
        'embeddings.patch_embedding.weight': (channels, 3, patch_size, patch_size),
        'embeddings.position_embedding.weight': (1 + positions, channels)}
    linear = {f'self_attn.{part}_proj': (channels, channels) for part in 'qkv'}
    linear.update({'self_attn.out_proj': (channels, channels),
                   'mlp.fc1': (ffn_channels, channels),
                   'mlp.fc2': (channels, ffn_channels),
                   'layer_norm1': (channels,), 'layer_norm2': (channels,)})
    parts = {f'encoder.layers.{i}.{name}': shape
             for i in range(num_layers) for name, shape in linear.items()}
    parts.update({'pre_layrnorm': (channels,), 'post_layernorm': (channels,)})
    for name, shape in parts.items():
        shapes[f'{name}.weight'] = shape
        shapes[f'{name}.bias'] = shape[:1]
    return {f'vision_model.{name}': shape for name, shape in shapes.items()}


def loudly(net):
    """The same network with weights large enough for every part to be heard."""
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return net


# -- structure -------------------------------------------------------------------


def test_names_and_sizes_are_the_published_ones():
    with torch.device('meta'):
        net = MODELS.build(dict(type='CLIPVision'))
    shapes = {name: tuple(value.shape) for name, value in net.state_dict().items()}
    assert shapes == published_names(12, 768, 3072, 16, positions=14 * 14)
    assert sum(p.numel() for p in net.parameters()) == 85_799_424
    assert net.out_channels == 768
    out = net.to('meta')(torch.empty(4, 3, 256, 128, device='meta'))
    assert out.shape == (4, 768, 16, 8)


@pytest.mark.parametrize('size', [(32, 32), (64, 32), (16, 40)])
def test_maps_are_the_tokens_of_transformers_row_by_row(size):
    torch.manual_seed(0)
    net, model = loudly(small()).eval(), theirs()
    encoder_of(model).load_state_dict(net.vision_model.state_dict())
    x = torch.randn(3, 3, *size)
    with torch.no_grad():
        tokens = encoder_of(model)(
            x, interpolate_pos_encoding=True).last_hidden_state
        tokens = encoder_of(model).post_layernorm(tokens)
        maps = net(x)
        net.out_type = 'cls_token'
        torch.testing.assert_close(net(x)[..., 0, 0], tokens[:, 0])
    assert maps.shape == (3, 16, size[0] // 8, size[1] // 8)
    torch.testing.assert_close(maps.flatten(2).mT, tokens[:, 1:])


@pytest.mark.parametrize(('setting', 'message'), [
    (dict(num_heads=3), 'hidden_channels=16'),
    (dict(patch_size=12), 'pretrain_size=32'),
    (dict(out_type='raw'), 'cls_token'),
    (dict(frozen_stages=3), 'frozen_stages')])
def test_settings_that_are_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        small(**setting)
    for shape in ((1, 3, 60, 32), (1, 3, 2, 64, 32)):
        with pytest.raises(ValueError, match='patch_size=8'):
            small()(torch.zeros(shape))


# -- training --------------------------------------------------------------------


@pytest.mark.parametrize(('stages', 'frozen'), [
    (-1, ()),
    (0, ('embeddings', 'pre_layrnorm')),
    (1, ('embeddings', 'pre_layrnorm', 'encoder.layers.0'))])
def test_frozen_stages(stages, frozen):
    net = small(frozen_stages=stages).train()
    for name, parameter in net.vision_model.named_parameters():
        assert parameter.requires_grad is not name.startswith(frozen or '-'), name
    for name, module in net.vision_model.named_modules():
        if name and name != 'encoder' and not name.endswith('layers'):
            assert module.training is not name.startswith(frozen or '-'), name
    net(torch.randn(2, 3, 64, 32)).square().sum().backward()
    learning = [p.grad for p in net.parameters() if p.requires_grad]
    assert all(grad is not None for grad in learning)


def test_with_cp_computes_layers_twice_and_the_same_gradients():
    torch.manual_seed(0)
    plain = loudly(small())
    saving = small(with_cp=True)
    saving.load_state_dict(plain.state_dict())
    x, weight = torch.randn(2, 3, 64, 32), torch.randn(2, 16, 8, 4)
    calls = []
    for net in (plain, saving):
        net.vision_model.encoder.layers[0].mlp.fc1.register_forward_hook(
            lambda *_, net=net: calls.append(net))
        (net.train()(x) * weight).sum().backward()
    assert [calls.count(net) for net in (plain, saving)] == [1, 2]
    for ours, theirs in zip(saving.parameters(), plain.parameters()):
        torch.testing.assert_close(ours.grad, theirs.grad)
    with torch.no_grad():
        torch.testing.assert_close(saving.eval()(x), plain.eval()(x))


# -- published weights -----------------------------------------------------------


def theirs(**changes):
    """A small CLIP as transformers has it."""
    return transformers.CLIPModel(transformers.CLIPConfig(
        vision_config={**THEIRS, **changes},
        text_config=dict(
            hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
            intermediate_size=8, vocab_size=60, max_position_embeddings=5,
            bos_token_id=1, eos_token_id=2, pad_token_id=0),
        projection_dim=8)).eval()


def pretrained(folder, **kwargs):
    return small(init_cfg=dict(type='PretrainedCLIP', checkpoint=str(folder)), **kwargs)


def encoder_of(model):
    return getattr(model, 'vision_model', model)


@pytest.mark.parametrize('kind', ['whole', 'encoder', 'pickled'])
def test_published_weights_load(kind, tmp_path):
    torch.manual_seed(0)
    clip = loudly(theirs())
    if kind == 'whole':
        clip.save_pretrained(tmp_path)
    elif kind == 'encoder':
        model = transformers.CLIPVisionModel(clip.config.vision_config)
        encoder_of(model).load_state_dict(encoder_of(clip).state_dict())
        model.save_pretrained(tmp_path)
    else:
        clip.config.save_pretrained(tmp_path)
        names = {f'vision_model.{name}': value
                 for name, value in encoder_of(clip).state_dict().items()}
        torch.save(names, tmp_path / 'pytorch_model.bin')
    net = pretrained(tmp_path)
    net.init_weights()
    for name, value in encoder_of(clip).state_dict().items():
        assert torch.equal(net.state_dict()[f'vision_model.{name}'], value), name
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        out = net.eval()(x)
        hidden = clip.vision_model(x).last_hidden_state[:, 1:]
        hidden = clip.vision_model.post_layernorm(hidden)
    torch.testing.assert_close(out.flatten(2).mT, hidden, rtol=1e-4, atol=1e-4)


def test_published_weights_load_with_plugins_in_a_reid_model(tmp_path):
    clip = loudly(theirs())
    clip.save_pretrained(tmp_path)
    backbone = dict(type='CLIPVision', **SMALL, init_cfg=dict(
        type='PretrainedCLIP', checkpoint=str(tmp_path)))
    model = MODELS.build(dict(
        type='VideoReID',
        backbone=dict(
            type='PluggedBackbone', backbone=backbone, input_shape=(4, 3, 32, 16),
            plugins=[dict(
                cfg=dict(type='COSAM'), after='vision_model.encoder.layers.0',
                layout='frame_tokens', grid=(4, 4, 2), num_prefix_tokens=1)]),
        aggregation=dict(type='TemporalPoolAggregation')))
    expected = {f'vision_model.{name}': value
                for name, value in encoder_of(clip).state_dict().items()}
    expected.update({name: value.clone() for name, value in
                     model.backbone.state_dict().items() if 'plugins.' in name})
    model.init_weights()
    for name, value in model.backbone.state_dict().items():
        assert torch.equal(value, expected[name]), name
    assert model.eval()(torch.zeros(2, 1, 3, 4, 32, 16)).shape == (2, 16)


@pytest.mark.parametrize(('change', 'message'), [
    (dict(hidden_act='gelu'), 'hidden_act'),
    (dict(image_size=48), 'pretrain_size=48'),
    (dict(num_hidden_layers=3, intermediate_size=32),
     'ffn_channels=32')])
def test_weights_of_another_encoder_are_refused(change, message, tmp_path):
    theirs(**change).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=message):
        pretrained(tmp_path).init_weights()


def test_files_that_are_no_clip_or_not_there_are_refused(tmp_path):
    transformers.ViTModel(transformers.ViTConfig(**THEIRS)).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match='weights'):
        pretrained(tmp_path).init_weights()
    with pytest.raises(OSError, match='init_cfg=None'):
        pretrained(tmp_path / 'empty').init_weights()
    # A pickle that holds more than tensors runs nothing.
    theirs().config.save_pretrained(tmp_path / 'pickle')
    torch.save({'vision_model.post_layernorm.bias': torch.nn.Linear(1, 1)},
               tmp_path / 'pickle' / 'pytorch_model.bin')
    with pytest.raises((OSError, ValueError, pickle.UnpicklingError)):
        pretrained(tmp_path / 'pickle').init_weights()


def test_without_transformers_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, 'transformers', None)
    with pytest.raises(ImportError, match='pip install'):
        small()

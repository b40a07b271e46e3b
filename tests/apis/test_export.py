"""Exported files against the model that they were made of, for every head."""
import importlib.util
import json
import sys

import numpy as np
import pytest
import torch
from mmengine.config import Config
from torch import nn

from cosam_mm.apis.deployable import DeployableModel, load_deployable
from cosam_mm.apis.export import (
    METADATA_NAME,
    check_exportable,
    export_model,
    relative_error,
)
from cosam_mm.apis.model_loading import weights_sha256
from tests import gallery_data

needs_onnx = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None
        for name in ('onnx', 'onnxscript', 'onnxruntime')),
    reason='the packages of cosam_mm[deploy] are not installed')

MEAN, STD = [110.0, 120.0, 130.0], [50.0, 60.0, 70.0]
REID_STATISTICS = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]


def pipeline(clip_len, size, layout='NCTHW', **sampling):
    return [dict(type='SafeDecordInit', on_unreadable='blank'),
            dict(type='SampleFrames', clip_len=clip_len, test_mode=True, **sampling),
            dict(type='SafeDecordDecode'),
            dict(type='CenterCrop', crop_size=size),
            dict(type='FormatShape', input_format=layout),
            dict(type='PackActionInputs')]


def action_config(backbone, head, steps, kind='Recognizer3D', layout='NCTHW', mean=MEAN,
                  std=STD, **dataset):
    return Config(dict(
        default_scope='mmaction',
        model=dict(
            type=kind, backbone=backbone, cls_head=dict(dict(num_classes=5), **head),
            data_preprocessor=dict(type='ActionDataPreprocessor', mean=mean, std=std,
                                   format_shape=layout)),
        test_dataloader=dict(dataset=dict(pipeline=steps, **dataset))))


def resnext(head, **backbone):
    return action_config(
        dict(dict(type='ResNeXt3D', depth=14, base_channels=8, groups=4,
                  feature_reduction='FRMB', reduced_channels=32), **backbone),
        dict(in_channels=32, **head), pipeline(16, 32))


def bert():
    """COSAM with reference frames, and with weights that are resampled."""
    cosams = dict(
        layer2=dict(num_frames=4, spatial_size=4, num_references=2),
        layer3=dict(num_frames=4, spatial_size=3, any_size=True))
    return resnext(
        dict(type='BERTHead', num_tokens=1,
             temporal=dict(num_heads=4, ffn_channels=64)),
        plugins=[dict(cfg=dict(cosam, type='COSAM'), position=f'after_{layer}')
                 for layer, cosam in cosams.items()])


def i3d():
    cosam = dict(type='COSAM', num_frames=2, spatial_size=(1, 1))
    return action_config(
        dict(type='I3D', feature_reduction='FRMB',
             plugins=[dict(cfg=cosam, position='after_MaxPool3d_5a_2x2')]),
        dict(type='BERTHead', in_channels=512, num_tokens=2,
             temporal=dict(ffn_channels=32, normalize_tokens=True)),
        pipeline(16, 30))


def tsn():
    return action_config(
        dict(type='ResNet', depth=18, norm_eval=False),
        dict(type='TSNHead', in_channels=512, average_clips='prob',
             consensus=dict(type='AvgConsensus', dim=1)),
        pipeline(1, 32, 'NCHW', num_clips=3), kind='Recognizer2D', layout='NCHW')


def reid_config(aggregation, positions=(), **backbone):
    cosam = dict(type='COSAM', num_frames=4, spatial_size=(2, 1))
    config = gallery_data.reid_config(
        plugins=[dict(cfg=cosam, position=one) for one in positions], **backbone)
    config.model.aggregation = aggregation
    config.test_evaluator.distance = 'cosine'
    return config


CONFIGS = dict(
    mean=lambda: resnext(dict(type='MeanHead')),
    lstm=lambda: resnext(dict(type='LSTMHead', hidden_channels=24)),
    bert=bert,
    i3d=i3d,
    tsn=tsn,
    tp=lambda: reid_config(dict(type='TemporalPoolAggregation'),
                           ['after_layer4'], type='FrameSEResNet'),
    ta=lambda: reid_config(dict(type='TemporalAttentionAggregation',
                                spatial_size=(2, 1))),
    rnn=lambda: reid_config(dict(type='TemporalRNNAggregation', hidden_channels=16)))
REID = ('tp', 'ta', 'rnn')
NORMALIZED = ('lstm', 'rnn')  # exported for frames that the caller normalises


def write_checkpoint(path, config, **meta):
    """Of a model with random weights, and norms that have seen something."""
    model = gallery_data.build_model(config)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.8, 1.2)
    gallery_data.write_checkpoint(path, config, model=model, meta=meta)
    return model


def some_pixels(shape, count, seed=0):
    """(N, *shape) of different brightness."""
    rng = np.random.default_rng(seed)
    light = rng.uniform(0.2, 1, (count, *[1] * len(shape)))
    return (light * rng.integers(0, 256, (count, *shape))).astype(np.uint8)


def normalized(name, frames):
    """Frames as they go into a model: normalised here and by nothing else."""
    mean, std = REID_STATISTICS if name in REID else (MEAN, STD)
    shape = (-1, 1, 1) if name == 'tsn' or name in REID else (-1, 1, 1, 1)
    mean, std = (np.reshape(value, shape) for value in (mean, std))
    return ((frames - mean) / std).astype(np.float32)


def run_model(name, model, frames):
    """Output for uint8 frames of a file."""
    clips = torch.from_numpy(normalized(name, frames))
    if name == 'tsn' or name in REID:                      # (N, T, C, H, W)
        clips = clips.transpose(1, 2)
    with torch.no_grad():
        if name in REID:
            return model.extract_feat([clip[None] for clip in clips]).numpy()
        inputs = clips.transpose(1, 2) if name == 'tsn' else clips[:, None]
        return model(inputs, mode='tensor', stage='head').numpy()


def open_onnx(path):
    import onnxruntime
    session = onnxruntime.InferenceSession(
        str(path), providers=['CPUExecutionProvider'])
    return session, lambda frames: session.run(None, {'frames': frames})[0]


def assert_same_output(found, expected):
    assert found.shape == expected.shape
    scale = np.abs(expected).max(1, keepdims=True)
    assert np.all(np.abs(found - expected) <= 1e-5 * scale)
    # clips differ by more than the files do, or an equal output would say nothing
    assert np.abs(expected - expected[:1]).max(1)[1:].min() > 1e-4 * scale.max()


@needs_onnx
@pytest.mark.parametrize('name', [
    pytest.param(name, marks=pytest.mark.slow if name == 'i3d' else ())
    for name in CONFIGS if name != 'mean'])
def test_files_equal_the_model(name, tmp_path, repo):
    """In batches of 1, 2 and 5; the example that was traced has 3 clips."""
    model = write_checkpoint(tmp_path / f'{name}.pth', CONFIGS[name](),
                             dataset_meta=dict(classes=list('abcde')))
    files = export_model(
        load_deployable(tmp_path / f'{name}.pth', normalize=name not in NORMALIZED),
        tmp_path / name, ('onnx', 'program'))
    session, run_onnx = open_onnx(tmp_path / f'{name}.onnx')
    extra = {METADATA_NAME: ''}
    program = torch.export.load(str(tmp_path / f'{name}.pt2'), extra_files=extra)
    run_program = program.module()

    (given,), dtype = session.get_inputs(), ('float' if name in NORMALIZED else 'uint8')
    assert (given.name, given.type) == ('frames', f'tensor({dtype})')
    pixels = some_pixels(given.shape[1:], 5)
    frames = normalized(name, pixels) if name in NORMALIZED else pixels
    expected = run_model(name, model, pixels)
    for run in (run_onnx, lambda a: run_program(torch.from_numpy(a)).detach().numpy()):
        assert_same_output(run(frames), expected)
        for count in (1, 2):
            assert relative_error(run(frames[:count]), expected[:count]) < 1e-5
    # Nobody normalises twice, or not at all.
    with pytest.raises(Exception, match=f'expected: .*{dtype}'):
        run_onnx(pixels if name in NORMALIZED else frames.astype(np.float32))

    contract = json.loads(session.get_modelmeta().custom_metadata_map[METADATA_NAME])
    assert json.loads(extra[METADATA_NAME]) == contract
    assert contract['input']['shape'] == given.shape
    assert contract['output']['shape'] == session.get_outputs()[0].shape
    if name in REID:  # people met later have no class
        model.head = model.losses = None
    assert contract['weights_sha256'] == weights_sha256(model.state_dict())
    assert_contract(name, contract)
    assert [file.path.name for file in files] == [f'{name}.onnx', f'{name}.pt2']
    for file in files:
        assert_file(file, model, contract, (repo, torch.__path__[0], tmp_path))


def assert_file(file, model, contract, folders):
    """It holds each weight once, and nothing of this machine."""
    assert file.num_bytes == file.path.stat().st_size < 2**20 + sum(
        value.nbytes for value in model.state_dict().values())
    content = file.path.read_bytes()
    assert not [folder for folder in folders if str(folder).encode() in content]
    sidecar = json.loads(file.companions[0].read_text())
    assert sidecar['check']['max_relative_error'] == file.max_relative_error < 1e-5
    assert all(sidecar[key] == value for key, value in contract.items())


def assert_contract(name, contract):
    """What a contract says of an exported model is right."""
    given, made = contract['input'], contract['output']
    assert given['dtype'] == ('float32' if name in NORMALIZED else 'uint8')
    assert given['normalization']['inside'] is (name not in NORMALIZED)
    for key, numbers in zip(('mean', 'std'),
                            REID_STATISTICS if name in REID else (MEAN, STD)):
        assert given['normalization'][key] == pytest.approx(numbers, rel=1e-6)
    assert given['layout'] == ('NTCHW' if name in (*REID, 'tsn') else 'NCTHW')
    assert made['name'] == ('features' if name in REID else 'scores')
    assert contract.get('class_names') == (None if name in REID else list('abcde'))
    assert ('softmax each' in made['meaning']) is (name == 'tsn')
    assert ('cosine distance' in made['meaning']) is (name in REID)


class Sums(DeployableModel):
    """A model of one layer whose file can be made to differ from it."""

    def __init__(self, fault='', num_outputs=3, width=4):
        model = nn.Module()
        model.data_preprocessor = nn.Module()
        model.data_preprocessor.register_buffer('mean', torch.full((3,), 100.0))
        model.data_preprocessor.register_buffer('std', torch.full((3,), 50.0))
        torch.manual_seed(0)
        model.layer = nn.Linear(3 * width, num_outputs)
        super().__init__(model, (3, 1, 1, width))
        self.fault = fault
        self.contract = dict(
            model='Sums', checkpoint='sums.pth', input=self.input_contract(),
            output=dict(name='scores', shape=['N', 3], dtype='float32', meaning='sums'))
        self.eval()

    def forward(self, frames):
        clips = frames.float() if self.fault == 'raw' else (
            frames - self.mean) / self.std
        if self.fault == 'mixed':
            clips = clips.flip(0)
        out = self.model.layer(clips.flatten(1))
        return out + float('nan') if self.fault == 'nan' else out

    def reference(self, pixels):
        return self.model.layer(((pixels - self.mean) / self.std).flatten(1))


@pytest.mark.parametrize('kind', [
    'program', pytest.param('onnx', marks=needs_onnx)])
@pytest.mark.parametrize('fault', ['raw', 'mixed', 'nan'])
def test_a_file_that_differs_is_not_kept(tmp_path, kind, fault):
    """Normalisation forgotten, clips mixed up, NaN."""
    with pytest.raises(RuntimeError, match='tolerance'):
        export_model(Sums(fault), tmp_path / 'm', [kind])
    assert list(tmp_path.iterdir()) == []


@needs_onnx
def test_none_of_two_files_is_kept_when_one_differs(tmp_path, monkeypatch):
    """And files that were there stay."""
    import onnxruntime
    export_model(Sums(), tmp_path / 'm', ['program'])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(before) == {'m.pt2', 'm.pt2.json'}
    run = onnxruntime.InferenceSession.run
    monkeypatch.setattr(onnxruntime.InferenceSession, 'run', lambda *arguments: [
        output + 1 for output in run(*arguments)])
    with pytest.raises(RuntimeError, match='m.onnx'):
        export_model(Sums(), tmp_path / 'm', ['program', 'onnx'], overwrite=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_outputs_that_are_nan_or_not_as_the_contract_says(tmp_path):
    model = Sums()
    model.model.layer.weight.data[0, 0] = float('nan')
    with pytest.raises(ValueError, match='NaN'):
        export_model(model, tmp_path / 'm', ['program'])
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match=r'\(1, 3\).*\(1, 2\)'):
        export_model(Sums(num_outputs=2), tmp_path / 'm', ['program'])


def test_relative_error_by_rows():
    expected = np.array([[3.0, -4.0], [0.0, 10.0]], np.float32)
    assert relative_error(expected, expected) == 0
    found = expected + np.array([[0.0, 0.4], [1e-3, 0.0]], np.float32)
    assert relative_error(found, expected) == pytest.approx(0.1)
    assert relative_error(found[1:], expected[1:]) == pytest.approx(1e-4)
    zero = np.zeros((1, 2), np.float32)
    assert relative_error(zero, zero) == 0
    assert relative_error(zero + 1, zero) == np.inf
    assert np.isnan(relative_error(found * np.nan, expected))
    with pytest.raises(ValueError, match=r'\(1, 2\)'):
        relative_error(found[:1], expected)


@needs_onnx
def test_weights_beside_the_file_and_back(tmp_path):
    model = Sums(width=1000)
    frames = some_pixels(model.clip_shape, 4)
    expected = model.reference(torch.from_numpy(frames)).detach().numpy()
    for external in (True, False):
        (file,) = export_model(model, tmp_path / 'a b', ['onnx'],
                               external_data=external, overwrite=True)
        names = ['a b.onnx.data', 'a b.onnx.json'] if external else ['a b.onnx.json']
        assert [path.name for path in file.companions] == names
        assert {path.name for path in tmp_path.iterdir()} == {'a b.onnx', *names}
        assert relative_error(open_onnx(file.path)[1](frames), expected) < 1e-5
        size = file.path.stat().st_size
        assert (size < 3000 * 3 * 4) is external
        if external:
            size += (tmp_path / 'a b.onnx.data').stat().st_size
        assert file.num_bytes == size


@needs_onnx
def test_opset(tmp_path):
    import onnx
    export_model(Sums(), tmp_path / 'm', ['onnx'], opset=18)
    model = onnx.load(tmp_path / 'm.onnx')
    assert [one.version for one in model.opset_import if one.domain == ''] == [18]
    for opset in (17, 999):
        with pytest.raises(ValueError, match=f'18 .*{opset}'):
            check_exportable(tmp_path / 'm', ['onnx'], opset)
    with pytest.raises(ValueError, match='program'):
        check_exportable(tmp_path / 'm', ['program'], 18)


@pytest.mark.parametrize('missing', ['onnx', 'onnxscript', 'onnxruntime'])
def test_missing_packages_are_named(monkeypatch, tmp_path, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ValueError, match=f'missing: .*{missing}.*program'):
        check_exportable(tmp_path / 'm', ['onnx'])
    check_exportable(tmp_path / 'm', ['program'])


@needs_onnx
def test_onnxscript_that_is_too_old_for_torch(monkeypatch, tmp_path):
    def export(*args, **kwargs):
        raise ModuleNotFoundError("No module named 'onnxscript._framework_apis.x'")
    monkeypatch.setattr(torch.onnx, 'export', export)
    with pytest.raises(RuntimeError, match='onnxscript'):
        export_model(Sums(), tmp_path / 'm')
    assert list(tmp_path.iterdir()) == []


def test_what_is_in_the_way_and_wrong_arguments(tmp_path):
    (tmp_path / 'm.pt2').write_text('mine')
    (tmp_path / 'n.pt2.json').write_text('mine')
    (tmp_path / 'q.pt2.data').write_text('mine')
    (tmp_path / 'o.pt2').mkdir()
    (tmp_path / 'p').mkdir()
    for name, word in (
            ('m', r'm\.pt2 .*overwrite'), ('n', r'n\.pt2\.json .*overwrite'),
            ('q', r'q\.pt2\.data .*overwrite'), ('o', r'o\.pt2 .*folder'),
            ('p', 'p is a folder'), ('m.pt2/x', r'm\.pt2')):
        with pytest.raises((ValueError, FileExistsError), match=word):
            export_model(Sums(), tmp_path / name, ['program'])
    assert (tmp_path / 'm.pt2').read_text() == 'mine'
    for arguments, word in ((dict(formats=[]), 'Formats'),
                            (dict(formats=['onnx', 'tflite']), 'Formats'),
                            (dict(formats=['program'], batch_size=1), 'batch_size')):
        with pytest.raises(ValueError, match=word):
            export_model(Sums(), tmp_path / 'new' / 'm', **arguments)
    export_model(Sums(), tmp_path / 'new' / 'folder' / 'm', ['program'])
    assert (tmp_path / 'new' / 'folder' / 'm.pt2').is_file()


def load(config, tmp_path, **arguments):
    write_checkpoint(tmp_path / 'c.pth', config)
    return load_deployable(str(tmp_path / 'c.pth'), **arguments)


def test_contract_of_optical_flow(tmp_path):
    config = action_config(
        dict(type='ResNeXt3D', depth=14, base_channels=8, groups=4, in_channels=2),
        dict(type='MeanHead', in_channels=256, average_clips=None),
        pipeline(16, 32, frame_interval=4), mean=[127.5] * 2, std=[64.0] * 2,
        modality='Flow')
    contract = load(config, tmp_path).contract
    assert contract['input']['shape'] == ['N', 2, 16, 32, 32]
    assert contract['input']['channel_order'] == 'flow x, flow y'
    assert contract['input']['frame_interval'] == 4
    assert contract['class_names'] is None
    assert 'average' not in contract['output']['meaning']
    assert contract['test_pipeline'][1]['clip_len'] == 16


def test_model_that_was_trained_on_bgr_takes_rgb(tmp_path):
    """MMAction2's to_rgb is a matter of its decoders; the file's input is RGB."""
    config = CONFIGS['mean']()
    config.model.data_preprocessor.to_rgb = True
    model = load(config, tmp_path)
    pixels = torch.from_numpy(some_pixels(model.clip_shape, 2))
    with torch.no_grad():
        torch.testing.assert_close(model(pixels), model.reference(pixels))
        bgr = model.model.data_preprocessor(dict(
            inputs=[clip[None] for clip in pixels.flip(1)], data_samples=[None] * 2))
        torch.testing.assert_close(
            model(pixels), model.model(bgr['inputs'], mode='tensor', stage='head'))


def test_given_shape_and_shapes_that_do_not_fit(tmp_path):
    config = reid_config(dict(type='TemporalPoolAggregation'),
                         positions=['after_layer4'])
    model = load(config, tmp_path, clip_shape=(3, 4, 64, 16))
    assert model.contract['input']['shape'] == ['N', 4, 3, 64, 16]
    with pytest.raises(ValueError, match='--shape'):
        load(config, tmp_path, clip_shape=(2, 4, 32, 16))
    wrong = load(config, tmp_path, clip_shape=(3, 5, 32, 16))
    with pytest.raises(ValueError, match='5 frames'):
        export_model(wrong, tmp_path / 'm', ['program'])
    wrong = load(bert(), tmp_path, clip_shape=(3, 16, 64, 64))
    with pytest.raises(ValueError, match='4x4, got 8x8'):
        export_model(wrong, tmp_path / 'm', ['program'])
    assert not list(tmp_path.glob('m*'))


def test_configs_that_say_too_little(tmp_path):
    config = CONFIGS['mean']()
    config.test_dataloader.dataset.pipeline = []
    with pytest.raises(ValueError, match='--shape'):
        load(config, tmp_path)
    assert load(config, tmp_path, clip_shape=(3, 16, 32, 32)).clip_shape[1] == 16

    config = reid_config(dict(type='TemporalPoolAggregation'))
    del config.test_dataloader.dataset.gallery.pipeline[2]
    with pytest.raises(ValueError, match='num_frames'):
        load(config, tmp_path)

    config = reid_config(dict(type='TemporalPoolAggregation'))
    config.model.data_preprocessor = dict(type='TrackletPreprocessor', mean=None,
                                          std=None)
    with pytest.raises(ValueError, match='mean and std'):
        load(config, tmp_path)

    config = CONFIGS['mean']()
    config.model.data_preprocessor.format_shape = 'MIX2d3d'
    with pytest.raises(ValueError, match='MIX2d3d'):
        load(config, tmp_path)


def test_model_that_is_neither(tmp_path):
    torch.save(dict(state_dict=dict(a=torch.zeros(1))), tmp_path / 'c.pth')
    config = Config(dict(model=dict(type='FrameResNet'), default_scope='mmengine'))
    with pytest.raises(ValueError, match='FrameResNet.*BaseRecognizer'):
        load_deployable(tmp_path / 'c.pth', config)


def any_length(name):
    """A model whose COSAM takes clips of any length."""
    cosam = dict(type='COSAM', num_frames=2 if name == 'lstm' else 4, any_size=True,
                 spatial_size=(2, 1))
    if name == 'tp':
        config = reid_config(dict(type='TemporalPoolAggregation'), ['after_layer3'])
        config.model.backbone.plugins[0].cfg = cosam
        return config
    return resnext(dict(type='LSTMHead', hidden_channels=8), plugins=[
        dict(cfg=cosam, position='after_layer3')])


@needs_onnx
@pytest.mark.parametrize(('name', 'lengths'), [
    ('tp', (4, 5, 13)), ('lstm', (16, 24, 72))])
def test_clips_of_any_length(tmp_path, name, lengths):
    import onnxruntime
    write_checkpoint(tmp_path / 'm.pth', any_length(name))
    model = load_deployable(tmp_path / 'm.pth')
    (file,) = export_model(model, tmp_path / 'm', dynamic_frames=True)
    session = onnxruntime.InferenceSession(str(file.path))
    contract = json.loads(session.get_modelmeta().custom_metadata_map[METADATA_NAME])
    axis = contract['input']['layout'].index('T')
    assert contract['input']['shape'][axis] == 'T'
    assert session.get_inputs()[0].shape == contract['input']['shape']
    assert contract['input']['clip_len'] == lengths[0]
    outputs = []
    for length in lengths:
        channels, _, *size = model.clip_shape
        pixels = torch.from_numpy(some_pixels((channels, length, *size), 2))
        frames = pixels.transpose(1, 2) if name == 'tp' else pixels
        (output,) = session.run(None, {'frames': frames.numpy()})
        with torch.no_grad():
            expected = model.reference(pixels).numpy()
        np.testing.assert_allclose(output, expected, rtol=1e-3, atol=1e-5)
        outputs.append(output)
    assert np.ptp(outputs, axis=0).max() > 1e-4


@pytest.mark.parametrize(('name', 'formats', 'word'), [
    ('bert', ['program'], 'num_tokens'), ('tp', ['program'], 'num_frames'),
    ('lstm', ['program'], 'does not run')])
def test_parts_for_one_length_are_refused(tmp_path, name, formats, word):
    """The LSTM's layer4 has one frame left, which torch takes for a constant."""
    config = any_length('lstm') if name == 'lstm' else CONFIGS[name]()
    write_checkpoint(tmp_path / 'm.pth', config)
    model = load_deployable(tmp_path / 'm.pth')
    with pytest.raises((ValueError, RuntimeError), match=word):
        export_model(model, tmp_path / 'm', formats, dynamic_frames=True)
    assert [path.name for path in tmp_path.iterdir()] == ['m.pth']

"""Test pipelines of configs, entered with frames."""
import pytest
from mmengine.config import Config

from cosam_mm.apis.action_pipeline import (
    action_pipeline,
    modality,
    take_frames,
    use_center_view,
)


def kinds(config, views='test'):
    return ['frames' if step is take_frames else step['type']
            for step in action_pipeline(config, views)]


def config_of(*pipeline, model='Recognizer3D', **dataset):
    steps = [step if isinstance(step, dict) else dict(type=step) for step in pipeline]
    return Config(dict(model=dict(type=model), test_dataloader=dict(
        dataset=dict(pipeline=steps, **dataset))))


@pytest.mark.parametrize(('name', 'crop'), [
    ('resnext101_cosam_bert_hmdb51', 'TenCrop'),
    ('i3d_cosam_bert_ucf101', 'TenCrop'),
    ('resnext101_bert_hmdb51_flow', 'FlowTenCrop')])
def test_shipped_configs(repo, name, crop):
    config = Config.fromfile(repo / 'configs' / f'{name}.py')
    before = config.pretty_text
    steps = ['SampleFrames', 'frames', 'Resize', crop, 'FormatShape',
             'PackActionInputs']
    assert kinds(config) == steps
    assert kinds(config, 'center') == [
        step.replace(crop, 'CenterCrop') for step in steps]
    size = {112: 112}.get(config.test_dataloader.dataset.pipeline[-3].crop_size, 224)
    assert action_pipeline(config, 'center')[3]['crop_size'] == size
    assert config.pretty_text == before


@pytest.mark.parametrize('loading', [
    ['DecordInit', 'SampleFrames', 'DecordDecode'],
    ['mmaction.PyAVInit', 'SampleFrames', 'mmaction.PyAVDecode'],
    ['SampleFrames', 'RawFrameDecode']])
def test_loading_of_mmaction2(loading):
    assert kinds(config_of(*loading, 'FormatShape')) == [
        'SampleFrames', 'frames', 'FormatShape']


def test_one_view_of_several_clips():
    sample = dict(type='SampleFrames', clip_len=8, num_clips=10, twice_sample=True)
    steps = [sample, 'DecordDecode', dict(type='ThreeCrop', crop_size=256)]
    one, _, crop = action_pipeline(config_of(*steps), 'center')
    assert one == dict(sample, num_clips=1, twice_sample=False)
    assert crop == dict(type='CenterCrop', crop_size=256)
    # To a 2-D recogniser the clips are the segments of a video.
    assert action_pipeline(config_of(*steps, model='Recognizer2D'), 'center')[0] == \
        sample
    assert action_pipeline(config_of(*steps))[0] == sample


def test_center_view_of_a_test(repo):
    config = Config.fromfile(repo / 'configs' / 'resnext101_cosam_bert_hmdb51.py')
    steps = [dict(step) for step in config.test_dataloader.dataset.pipeline]
    use_center_view(config)
    steps[1].update(num_clips=1, twice_sample=False)
    steps[4] = dict(type='CenterCrop', crop_size=112)
    assert config.test_dataloader.dataset.pipeline == steps
    with pytest.raises(ValueError, match='--views'):
        use_center_view(Config.fromfile(
            repo / 'configs' / 'reid' / 'resnet50_tp_mars.py'))


def test_modality_and_other_pipelines():
    assert modality(config_of()) == ('RGB', 3)
    assert modality(config_of(modality='Flow')) == ('Flow', 2)
    with pytest.raises(ValueError, match='Pose'):
        modality(config_of(modality='Pose'))
    for config in (Config(dict(model=dict(type='Recognizer3D'))), config_of(),
                   config_of('UniformSampleFrames', 'PoseDecode')):
        with pytest.raises(ValueError, match='SafeDecordDecode'):
            action_pipeline(config)
    with pytest.raises(ValueError, match='ten'):
        action_pipeline(config_of('DecordDecode'), 'ten')

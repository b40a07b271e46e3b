"""What ``import cosam_mm`` brings along, and what is found by name right after it."""
import pytest
from mmengine.registry import Registry

from cosam_mm.utils import compat
from tests.utils.test_compat import run_python

HEAVY = ('mmengine.model', 'mmengine.optim', 'mmengine.hooks', 'mmengine.runner',
         'mmengine.dataset', 'torch.distributed.optim', 'transformers', 'scipy',
         'mmaction', 'mmcv', 'decord', 'cv2')


def test_it_brings_nothing_but_itself():
    status, out, err = run_python(f'''
        import sys, torch, mmengine
        before = set(sys.modules)
        import cosam_mm
        after = set(sys.modules) - before
        print([name for name in {HEAVY!r} if name in after])
        print(sorted(name for name in after if name.split('.')[0] != 'cosam_mm'))
        print(cosam_mm.layers.COSAM.__name__, 'mmengine.model' in sys.modules)
    ''')
    assert (status, out.splitlines()) == (0, ['[]', '[]', 'COSAM True']), err


# Registry -> what is found in it by plain name.
NAMES = dict(
    MODELS=['COSAM', 'PluggedBackbone', 'FrameResNet', 'ResNeXt3D', 'VideoReID'],
    DATASETS=['MARS', 'TrackletFolder', 'QueryGalleryDataset'],
    DATA_SAMPLERS=['PKSampler', 'ClipSampler'], METRICS=['ReIDMetric'],
    TRANSFORMS=['SampleTrackletFrames', 'LoadTrackletFrames', 'ResizeFrames',
                'RandomTranslation2D', 'RandomFlipFrames', 'RandomErasingFrames',
                'PackTrackletInputs'],
    HOOKS=['SafeCheckpointHook', 'NaNLossHook', 'SeededSamplingHook', 'MeanLossHook',
           'SplitLeakageHook', 'UnreadableSamplesHook', 'MaskVisualizationHook',
           'ProgressBarHook', 'ChannelsLastHook', 'FastInferenceHook',
           'MallocTuningHook'],
    WEIGHT_INITIALIZERS=['PretrainedCLIP'], OPTIM_WRAPPERS=['CPUAmpOptimWrapper'],
    VISBACKENDS=['FaultTolerantVisBackend'])


@pytest.mark.parametrize(('scope', 'first'), [
    ('mmengine', ''), ('mmaction', 'mmaction.registry'), ('mmpretrain', ''),
    ('made_up', '')])
def test_everything_is_found_by_name_from_every_scope(scope, first):
    """With ``custom_imports=dict(imports=['cosam_mm'])`` and nothing else."""
    if scope not in ('mmengine', 'made_up'):
        pytest.importorskip(scope)
    status, out, err = run_python(f'''
        import {first or 'mmengine'}
        from mmengine import registry
        from mmengine.utils import import_modules_from_strings
        if {scope!r} == 'made_up':
            made_up = registry.Registry('model', parent=registry.MODELS,
                                        scope='made_up')
        import_modules_from_strings(['cosam_mm'], allow_failed_imports=False)
        registry.init_default_scope({scope!r})
        missing = []
        for kind, names in {NAMES!r}.items():
            with getattr(registry, kind).switch_scope_and_registry(None) as found:
                missing += [name for name in names if found.get(name) is None]
        print(missing, type(registry.MODELS.build(dict(
            type='COSAM', in_channels=8, num_frames=2, spatial_size=2))).__name__)
    ''')
    assert (status, out.splitlines()[-1]) == (0, '[] COSAM'), err


@pytest.mark.parametrize('order', ['child, package', 'package, child'])
def test_a_scope_that_is_no_package_finds_it(order):
    """Whether its registry, which has no locations, was there and asked before."""
    lines = {'package': 'import cosam_mm', 'child': """
        child = Registry('model', parent=MODELS, scope='made_up')
        assert child.get('COSAM') is None or 'cosam_mm' in sys.modules"""}
    status, out, err = run_python(f'''
        import sys
        from mmengine.registry import MODELS, Registry, init_default_scope
        {lines[order.split(', ')[0]]}
        {lines[order.split(', ')[1]]}
        init_default_scope('made_up')
        print(type(MODELS.build(dict(type='COSAM', in_channels=8, num_frames=2,
                                     spatial_size=2))).__name__)
    ''')
    assert (status, out.splitlines()[-1]) == (0, 'COSAM'), err


@pytest.mark.parametrize('first', ['mmengine.hooks', 'mmengine.infer'])
def test_weights_by_name_are_known_once_there_is_a_loader(first):
    status, out, err = run_python(f'''
        import cosam_mm
        import {first}
        from mmengine.runner import CheckpointLoader
        print(CheckpointLoader._get_checkpoint_loader('imagenet://resnet50').__name__)
    ''')
    assert (status, out) == (0, 'load_imagenet'), err


def test_a_later_location_is_imported_too(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(tmp_path)
    registry = Registry('made up', scope='made_up', locations=[])
    for number in (1, 2):
        name = f'late_location_for_test_{number}'
        (tmp_path / f'{name}.py').write_text('print(__name__)')
        compat.import_on_lookup(registry, name)
        compat.import_on_lookup(registry, name)
        assert registry._locations.count(name) == 1
        assert registry.get('nothing') is None
        assert capsys.readouterr().out == f'{name}\n'


def test_one_cycle_checkpoint_loads_before_mmengine_optim(tmp_path):
    status, out, err = run_python(f'''
        import torch
        from mmengine.optim import OneCycleLR
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
        schedule = OneCycleLR(optimizer, eta_max=0.1, total_steps=5)
        torch.save(schedule.state_dict(), {str(tmp_path / 'a.pth')!r})
    ''')
    assert status == 0, err
    status, out, err = run_python(f'''
        import sys, torch, cosam_mm
        assert 'mmengine.optim' not in sys.modules
        state = torch.load({str(tmp_path / 'a.pth')!r}, weights_only=True)
        print(state['anneal_func'].__name__)
    ''')
    assert (status, out) == (0, '_annealing_cos'), err

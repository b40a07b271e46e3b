"""What ``import cosam_mm`` brings along, and what is found by name right after it."""
import importlib

import pytest
import torch
from mmengine.optim import OneCycleLR

import cosam_mm

HEAVY = ('mmengine.model', 'mmengine.optim', 'mmengine.hooks', 'mmengine.runner',
         'mmengine.dataset', 'torch.distributed.optim', 'transformers', 'scipy',
         'mmaction', 'mmcv', 'decord', 'cv2')


def test_it_brings_nothing_but_itself(run_python):
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


# Registry -> what is found in it by plain name. (MMAction2's: utils/test_compat.py.)
NAMES = dict(
    MODELS='COSAM ClipAdapter CLIPVision FrameResNet FrameSEResNet I3D PluggedBackbone '
           'ResNeXt3D VideoReID BatchHardTripletLoss CenterLoss CircleLoss '
           'IdentityLoss',
    DATASETS='DukeMTMCVideoReID ILIDSVID MARS QueryGalleryDataset TrackletFolder',
    DATA_SAMPLERS='PKSampler ClipSampler', METRICS='ReIDMetric',
    TRANSFORMS='SampleTrackletFrames LoadTrackletFrames ResizeFrames '
               'RandomTranslation2D RandomFlipFrames RandomErasingFrames '
               'PackTrackletInputs',
    HOOKS='SafeCheckpointHook NaNLossHook SeededSamplingHook MeanLossHook '
          'SplitLeakageHook UnreadableSamplesHook MaskVisualizationHook '
          'ProgressBarHook ChannelsLastHook FastInferenceHook MallocTuningHook',
    WEIGHT_INITIALIZERS='PretrainedCLIP', OPTIM_WRAPPERS='CPUAmpOptimWrapper',
    VISBACKENDS='FaultTolerantVisBackend')
# Module -> what other projects import from it.
IMPORTED = {
    'cosam_mm': 'ActionRecognizer TrackletEncoder __version__',
    'cosam_mm.layers':
        'COSAM ClipAdapter TemporalAttentionAggregation TemporalBERT TemporalLSTM '
        'TemporalMean TemporalPoolAggregation TemporalRNNAggregation record_masks',
    'cosam_mm.models.backbones':
        'CLIPVision FrameResNet FrameSEResNet I3D ResNeXt3D plug_into',
    'cosam_mm.models.heads': 'BERTHead LSTMHead MeanHead',
    'cosam_mm.models.losses':
        'BatchHardTripletLoss CenterLoss CircleLoss IdentityLoss',
    'cosam_mm.models.reid': 'TrackletPreprocessor VideoReID',
    'cosam_mm.datasets.reid':
        'DukeMTMCVideoReID ILIDSVID MARS PKSampler QueryGalleryDataset TrackletFolder',
    'cosam_mm.evaluation.metrics.action_metric': 'ActionMetric DumpScores',
    'cosam_mm.evaluation.metrics.reid_metric': 'ReIDMetric',
    'cosam_mm.apis.gallery': 'Gallery index_folder',
    'cosam_mm.apis.export': 'export_model',
}


@pytest.mark.parametrize(('scope', 'first'), [
    ('mmengine', 'mmengine'), ('mmaction', 'mmaction.registry'),
    ('mmpretrain', 'mmengine')])
def test_everything_is_found_by_name_from_every_scope(run_python, scope, first):
    """With ``custom_imports=dict(imports=['cosam_mm'])`` and nothing else."""
    pytest.importorskip(scope)
    status, out, err = run_python(f'''
        import {first}
        from mmengine import registry
        from mmengine.utils import import_modules_from_strings
        import_modules_from_strings(['cosam_mm'], allow_failed_imports=False)
        registry.init_default_scope({scope!r})
        missing = []
        for kind, names in {NAMES!r}.items():
            with getattr(registry, kind).switch_scope_and_registry(None) as found:
                missing += [name for name in names.split() if found.get(name) is None]
        print(missing, type(registry.MODELS.build(dict(
            type='COSAM', in_channels=8, num_frames=2, spatial_size=2))).__name__)
    ''')
    assert (status, out.splitlines()[-1]) == (0, '[] COSAM'), err


@pytest.mark.parametrize('order', ['child, package', 'package, child'])
def test_a_scope_that_is_no_package_finds_it(run_python, order):
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
def test_weights_by_name_are_known_once_there_is_a_loader(run_python, first):
    status, out, err = run_python(f'''
        import cosam_mm
        import {first}
        from mmengine.runner import CheckpointLoader
        print(CheckpointLoader._get_checkpoint_loader('imagenet://resnet50').__name__)
    ''')
    assert (status, out) == (0, 'load_imagenet'), err


def test_one_cycle_checkpoints_load_before_mmengine_optim(run_python, tmp_path):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    schedules = [OneCycleLR(optimizer, eta_max=0.1, total_steps=5, anneal_strategy=kind)
                 for kind in ('cos', 'linear')]
    schedules[0].step()
    torch.save([schedule.state_dict() for schedule in schedules], tmp_path / 'a.pth')
    status, out, err = run_python(f'''
        import sys, cosam_mm
        from cosam_mm.utils.io import read_checkpoint
        assert 'mmengine.optim' not in sys.modules
        states = read_checkpoint({str(tmp_path / 'a.pth')!r})
        print(*(state['anneal_func'].__name__ for state in states),
              states[0]['last_step'])
    ''')
    assert (status, out) == (
        0, f'_annealing_cos _annealing_linear {schedules[0].last_step}'), err


# -- from cosam_mm import ... ----------------------------------------------------


@pytest.mark.parametrize(('wanted', 'missing', 'extra'), [
    ('ActionRecognizer', 'mmaction', 'action'), ('TrackletEncoder', 'cv2', 'reid')])
def test_missing_package_names_the_extra(run_python, wanted, missing, extra):
    _, out, _ = run_python(f'''
        import sys
        import cosam_mm
        sys.modules[{missing!r}] = None
        try:
            from cosam_mm import {wanted}
        except ImportError as error:
            print(error, '|', error.name, '|', type(error.__cause__).__name__)
    ''')
    for part in (f'{wanted} needs {missing}', f'cosam_mm[{extra}]',
                 f'| {missing} | ModuleNotFoundError'):
        assert part in out


@pytest.mark.parametrize('module', IMPORTED)
def test_names_are_imported(module):
    found = importlib.import_module(module)
    assert [n for n in IMPORTED[module].split() if not hasattr(found, n)] == []


def test_names_are_found():
    assert {'ActionRecognizer', 'TrackletEncoder', '__version__'} <= set(dir(cosam_mm))
    with pytest.raises(AttributeError, match='Nothing'):
        _ = cosam_mm.Nothing
    assert not hasattr(cosam_mm, 'Nothing')

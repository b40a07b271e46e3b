"""The names that other projects import, and those that their configs build."""
import importlib

import pytest
from mmaction import registry as mmaction_registry
from mmengine import registry as mmengine_registry

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
BUILT = {
    ('mmengine', 'MODELS'):
        'COSAM ClipAdapter CLIPVision FrameResNet FrameSEResNet I3D PluggedBackbone '
        'ResNeXt3D VideoReID BatchHardTripletLoss CenterLoss CircleLoss IdentityLoss',
    ('mmengine', 'DATASETS'):
        'DukeMTMCVideoReID ILIDSVID MARS QueryGalleryDataset TrackletFolder',
    ('mmengine', 'DATA_SAMPLERS'): 'ClipSampler PKSampler',
    ('mmengine', 'TRANSFORMS'):
        'LoadTrackletFrames PackTrackletInputs RandomErasingFrames RandomFlipFrames '
        'RandomTranslation2D ResizeFrames SampleTrackletFrames',
    ('mmengine', 'METRICS'): 'ReIDMetric',
    ('mmengine', 'HOOKS'):
        'ChannelsLastHook FastInferenceHook MallocTuningHook MaskVisualizationHook '
        'MeanLossHook NaNLossHook ProgressBarHook SafeCheckpointHook '
        'SeededSamplingHook SplitLeakageHook UnreadableSamplesHook',
    ('mmaction', 'MODELS'): 'BERTHead LSTMHead MeanHead',
    ('mmaction', 'DATASETS'): 'ActionFrameDataset ActionVideoDataset',
    ('mmaction', 'TRANSFORMS'):
        'ClipRandAugment FlowFlip FlowTenCrop SafeDecordDecode SafeDecordInit '
        'SafeRawFrameDecode',
    ('mmaction', 'METRICS'): 'ActionMetric DumpScores',
}
REGISTRIES = dict(mmengine=mmengine_registry, mmaction=mmaction_registry)


@pytest.mark.parametrize('module', IMPORTED)
def test_names_are_imported(module):
    found = importlib.import_module(module)
    assert [n for n in IMPORTED[module].split() if not hasattr(found, n)] == []


@pytest.mark.parametrize(('package', 'kind'), BUILT)
def test_names_are_built(package, kind):
    registry = getattr(REGISTRIES[package], kind)
    assert [name for name in BUILT[package, kind].split()
            if registry.get(name) is None] == []

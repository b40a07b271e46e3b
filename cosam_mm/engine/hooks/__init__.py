"""Hooks of training and test runs."""
from .bad_loss import BadLossHook
from .bad_samples import BadSamplesHook
from .checkpoint import SafeCheckpointHook
from .draws import SeededDrawsHook
from .fast import ChannelsLastHook, FastInferenceHook, KeepMemoryHook
from .guard import CheckpointGuardHook
from .masks import MaskVisualizationHook
from .mean_loss import MeanLossHook
from .progress import ProgressBarHook

__all__ = ['BadLossHook', 'BadSamplesHook', 'ChannelsLastHook', 'CheckpointGuardHook',
           'FastInferenceHook', 'KeepMemoryHook', 'MaskVisualizationHook',
           'MeanLossHook', 'ProgressBarHook', 'SafeCheckpointHook', 'SeededDrawsHook']

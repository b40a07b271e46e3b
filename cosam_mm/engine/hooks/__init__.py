"""Hooks of training and test runs."""
from .checkpoint_hook import SafeCheckpointHook
from .fast_hooks import ChannelsLastHook, FastInferenceHook, KeepMemoryHook
from .mask_visualization_hook import MaskVisualizationHook
from .mean_loss_hook import MeanLossHook
from .nan_loss_hook import BadLossHook
from .progress_bar_hook import ProgressBarHook
from .seeded_sampling_hook import SeededDrawsHook
from .split_leakage_hook import CheckpointGuardHook
from .unreadable_samples_hook import BadSamplesHook

__all__ = ['BadLossHook', 'BadSamplesHook', 'ChannelsLastHook', 'CheckpointGuardHook',
           'FastInferenceHook', 'KeepMemoryHook', 'MaskVisualizationHook',
           'MeanLossHook', 'ProgressBarHook', 'SafeCheckpointHook', 'SeededDrawsHook']

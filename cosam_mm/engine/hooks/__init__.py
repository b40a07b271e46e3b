"""Hooks of training and test runs."""
from cosam_mm.registry import HOOKS
from cosam_mm.utils.compat import register_renamed

from .checkpoint_hook import SafeCheckpointHook
from .mask_visualization_hook import MaskVisualizationHook
from .mean_loss_hook import MeanLossHook
from .nan_loss_hook import NaNLossHook
from .performance_hooks import ChannelsLastHook, FastInferenceHook, MallocTuningHook
from .progress_bar_hook import ProgressBarHook
from .seeded_sampling_hook import SeededSamplingHook
from .split_leakage_hook import SplitLeakageHook
from .unreadable_samples_hook import UnreadableSamplesHook

__all__ = [
    'ChannelsLastHook', 'FastInferenceHook', 'MallocTuningHook',
    'MaskVisualizationHook', 'MeanLossHook', 'NaNLossHook', 'ProgressBarHook',
    'SafeCheckpointHook', 'SeededSamplingHook', 'SplitLeakageHook',
    'UnreadableSamplesHook'
]

for _old_name, _hook in (
    ('BadLossHook', NaNLossHook),
    ('BadSamplesHook', UnreadableSamplesHook),
    ('CheckpointGuardHook', SplitLeakageHook),
    ('KeepMemoryHook', MallocTuningHook),
    ('SeededDrawsHook', SeededSamplingHook),
):
    register_renamed(HOOKS, _old_name, _hook)

"""Building blocks: modules that take and give tensors."""
from .aggregation import (
    TemporalAttentionAggregation,
    TemporalPoolAggregation,
    TemporalRNNAggregation,
)
from .clip_adapter import ClipAdapter
from .cosam import COSAM
from .cosam_naive import NaiveCOSAM
from .masks import record_masks
from .temporal import TemporalBERT, TemporalLSTM, TemporalMean

__all__ = [
    'COSAM', 'ClipAdapter', 'NaiveCOSAM', 'TemporalAttentionAggregation',
    'TemporalBERT', 'TemporalLSTM', 'TemporalMean', 'TemporalPoolAggregation',
    'TemporalRNNAggregation', 'record_masks'
]

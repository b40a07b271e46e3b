"""Building blocks: modules that take and give tensors."""
from .aggregation import (
    TemporalAttentionAggregation,
    TemporalPoolAggregation,
    TemporalRNNAggregation,
)
from .clip_adapter import ClipAdapter
from .cosam import COSAM
from .mask_recording import record_masks
from .temporal import TemporalBERT, TemporalLSTM, TemporalMean

__all__ = [
    'COSAM', 'ClipAdapter', 'TemporalAttentionAggregation',
    'TemporalBERT', 'TemporalLSTM', 'TemporalMean', 'TemporalPoolAggregation',
    'TemporalRNNAggregation', 'record_masks'
]

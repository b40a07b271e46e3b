"""Building blocks: modules that take and give tensors."""
from .cosam import COSAM
from .temporal import TemporalBERT, TemporalLSTM, TemporalMean

__all__ = ['COSAM', 'TemporalBERT', 'TemporalLSTM', 'TemporalMean']

"""Heads for MMAction2's recognisers; importing them imports MMAction2."""
from .late_temporal import BERTHead, LSTMHead, MeanHead

__all__ = ['BERTHead', 'LSTMHead', 'MeanHead']

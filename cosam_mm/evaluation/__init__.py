"""Metrics; importing this needs MMAction2."""
from .action import ActionMetric, DumpScores, load_scores, save_scores

__all__ = ['ActionMetric', 'DumpScores', 'load_scores', 'save_scores']

"""Hooks of training and test runs."""
from .fast import ChannelsLastHook, FastInferenceHook
from .guard import CheckpointGuardHook
from .mean_loss import MeanLossHook

__all__ = ['ChannelsLastHook', 'CheckpointGuardHook', 'FastInferenceHook',
           'MeanLossHook']

"""Losses on the features and identity scores of tracklets."""
from .center import CenterLoss
from .circle import CircleLoss
from .reid import BatchHardTripletLoss, IdentityLoss

__all__ = ['BatchHardTripletLoss', 'CenterLoss', 'CircleLoss', 'IdentityLoss']

"""Losses on the features and identity scores of tracklets."""
from .center_loss import CenterLoss
from .circle_loss import CircleLoss
from .reid_losses import BatchHardTripletLoss, IdentityLoss

__all__ = ['BatchHardTripletLoss', 'CenterLoss', 'CircleLoss', 'IdentityLoss']

"""Losses on the features and identity scores of tracklets."""
from .reid import BatchHardTripletLoss, IdentityLoss

__all__ = ['BatchHardTripletLoss', 'IdentityLoss']

"""Hooks of training and test runs."""
from .guard import CheckpointGuardHook

__all__ = ['CheckpointGuardHook']

"""Metrics of MMEngine's evaluators."""

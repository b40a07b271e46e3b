"""What the tools import: in memory before they start, so that they start at once."""
# ruff: noqa: F401, I001
import cosam_mm
import mmaction.apis
import mmaction.datasets
import mmaction.evaluation
import mmaction.models
import mmaction.visualization
import cosam_mm.datasets.reid
import cosam_mm.evaluation.metrics.reid_metric
import cosam_mm.engine.hooks

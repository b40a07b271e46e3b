"""What every training and test imports: loaded once, before processes are forked."""
import contextlib
import warnings

import cv2  # noqa: F401
import mmengine.runner  # noqa: F401
import torch  # noqa: F401

import cosam_mm.datasets.reid
import cosam_mm.engine.hooks
import cosam_mm.evaluation.metrics.reid_metric
import cosam_mm.models  # noqa: F401

with contextlib.suppress(ImportError), warnings.catch_warnings():
    # mmcv-lite has no compiled operations; none is used.
    warnings.filterwarnings('ignore', 'Fail to import', UserWarning)
    import mmaction.engine
    import mmaction.models  # noqa: F401

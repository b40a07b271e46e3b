"""What every training and test imports: loaded once, before processes are forked."""
import contextlib

import cv2  # noqa: F401
import mmengine.runner  # noqa: F401
import torch  # noqa: F401

import cosam_mm.datasets.reid
import cosam_mm.engine.hooks
import cosam_mm.evaluation.reid
import cosam_mm.models  # noqa: F401

with contextlib.suppress(ImportError):
    import mmaction.engine
    import mmaction.models  # noqa: F401

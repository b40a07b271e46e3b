"""Optical flow between consecutive frames, as grey images.

The flow stream of two-stream networks reads displacement from 8-bit images:
clipped to +-20 pixels and mapped linearly to 0..255, so that no motion is 127.5,
the mean that the flow configs subtract. (Wang et al., *Temporal Segment
Networks*, ECCV 2016, with TV-L1 of Zach et al., DAGM 2007.)
"""
from typing import Callable

import numpy as np

FLOW_BOUND_PIXELS = 20.0

# Two grey frames, uint8 (H, W) -> displacement in pixels, float32 (H, W, 2).
FlowEstimator = Callable[[np.ndarray, np.ndarray], np.ndarray]


def quantize_flow(
    flow: np.ndarray, bound_pixels: float = FLOW_BOUND_PIXELS
) -> np.ndarray:
    """Maps displacements to the grey values that are stored.

    Args:
        flow: Displacement in pixels, any shape.
        bound_pixels: Larger displacements are clipped to this.

    Returns:
        uint8 array of the same shape: -bound is 0, 0 is 127.5 rounded, +bound 255.

    Raises:
        ValueError: The bound is not positive.

    Example:
        >>> quantize_flow(np.array([-25., -20., 0., 10., 20.])).tolist()
        [0, 0, 128, 191, 255]
    """
    if not bound_pixels > 0:
        raise ValueError(f'bound_pixels must be positive, got {bound_pixels}')
    clipped = np.clip(flow, -bound_pixels, bound_pixels)
    return np.rint((clipped + bound_pixels) * (255 / (2 * bound_pixels))).astype(
        np.uint8)


def tvl1_estimator() -> FlowEstimator:
    """Dual TV-L1 with OpenCV's defaults: sharp edges, about a second a frame."""
    import cv2
    if not hasattr(cv2, 'optflow'):
        raise ValueError(
            "flow 'tvl1' needs the optflow module, which this OpenCV lacks: install "
            "opencv-contrib-python, or choose 'farneback'")
    solver = cv2.optflow.DualTVL1OpticalFlow_create()
    return lambda previous, following: solver.calc(previous, following, None)


def farneback_estimator() -> FlowEstimator:
    """Farneback's polynomial expansion: smoother, and some 50 times as fast."""
    import cv2
    return lambda previous, following: cv2.calcOpticalFlowFarneback(
        previous, following, None, pyr_scale=0.5, levels=3, winsize=15, iterations=3,
        poly_n=5, poly_sigma=1.2, flags=0)


FLOW_ESTIMATORS: dict[str, Callable[[], FlowEstimator]] = {
    'tvl1': tvl1_estimator,
    'farneback': farneback_estimator,
}


def make_flow_estimator(name: str) -> FlowEstimator:
    """Builds an estimator by name.

    Args:
        name: 'tvl1' or 'farneback'.

    Returns:
        Function of two consecutive grey frames.

    Raises:
        ValueError: Unknown name, or OpenCV was built without it.
    """
    if name not in FLOW_ESTIMATORS:
        raise ValueError(
            f'flow must be one of {", ".join(FLOW_ESTIMATORS)}, got {name!r}')
    return FLOW_ESTIMATORS[name]()

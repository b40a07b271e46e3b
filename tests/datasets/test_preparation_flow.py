"""Flow images: the mapping to grey values, and flow of a known displacement."""
import cv2
import numpy as np
import pytest

from cosam_mm.datasets.preparation.optical_flow import (
    FLOW_ESTIMATORS,
    make_flow_estimator,
    quantize_flow,
)

SHIFT = (3, -2)  # pixels to the right, pixels down


def shifted_pair():
    """Two windows of one smooth texture; the second shows it moved by SHIFT."""
    texture = np.random.default_rng(0).uniform(0, 255, (120, 140)).astype(np.float32)
    texture = cv2.normalize(
        cv2.GaussianBlur(texture, (0, 0), 2), None, 0, 255, cv2.NORM_MINMAX)
    x, y = 20, 20
    windows = (texture[y:y + 80, x:x + 96],
               texture[y - SHIFT[1]:y - SHIFT[1] + 80, x - SHIFT[0]:x - SHIFT[0] + 96])
    return [window.astype(np.uint8) for window in windows]


def test_quantize_is_the_nearest_grey_value_of_the_line():
    flow = np.linspace(-30, 30, 241, dtype=np.float32)

    grey = quantize_flow(flow)

    assert grey.dtype == np.uint8
    exact = [255 * (min(max(v, -20), 20) + 20) / 40 for v in flow.tolist()]
    assert np.abs(grey - np.array(exact)).max() <= 0.5
    assert grey[120] in (127, 128)


def test_quantize_refuses_a_bound_of_nothing():
    with pytest.raises(ValueError, match='bound_pixels must be positive, got 0'):
        quantize_flow(np.zeros(3), 0)


@pytest.mark.parametrize('name', list(FLOW_ESTIMATORS))
def test_known_displacement(name):
    if name == 'tvl1' and not hasattr(cv2, 'optflow'):
        pytest.skip('this OpenCV has no optflow module')

    flow = make_flow_estimator(name)(*shifted_pair())

    assert flow.shape == (80, 96, 2)
    assert flow.dtype == np.float32
    inner = flow[20:-20, 20:-20].reshape(-1, 2)
    np.testing.assert_allclose(np.median(inner, axis=0), SHIFT, atol=0.25)


def test_unknown_name():
    with pytest.raises(ValueError, match="one of tvl1, farneback, got 'raft'"):
        make_flow_estimator('raft')


def test_tvl1_without_the_optflow_module(monkeypatch):
    monkeypatch.delattr(cv2, 'optflow', raising=False)

    with pytest.raises(ValueError, match='install opencv-contrib-python, or choose'):
        make_flow_estimator('tvl1')

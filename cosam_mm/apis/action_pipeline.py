"""The test pipeline of an action config, entered with frames instead of files.

    SafeDecordInit, or DecordInit, ...     dropped: a reader is given
    SampleFrames                           the same
    SafeDecordDecode, RawFrameDecode, ...  take_frames
    Resize, TenCrop, FormatShape, ...      the same

So the chosen frames, and all that happens to them, are those of ``tools/test.py``.
"""
from collections.abc import Iterable

import numpy as np
from mmengine.config import Config

from .model_loading import dataset_of_tests

__all__ = ['VIEWS', 'action_pipeline', 'modality', 'take_frames', 'use_center_view']

VIEWS = ('test', 'center')
_CHANNELS = {'RGB': 3, 'Flow': 2}
_DECODING = ('SafeDecordDecode', 'SafeRawFrameDecode', 'DecordDecode', 'RawFrameDecode',
             'OpenCVDecode', 'PyAVDecode', 'PIMSDecode')
_CROPS = ('TenCrop', 'ThreeCrop', 'FlowTenCrop')


def take_frames(results: dict) -> dict:
    """Pipeline step: the frames that were chosen, out of ``video_reader``.

    Needs ``video_reader`` and ``frame_inds``; adds ``imgs``, a list of (H, W, C)
    uint8 arrays, ``original_shape`` and ``img_shape``; puts their numbers into
    the list ``frames_seen``, if there is one.
    """
    reader, chosen = results.pop('video_reader'), np.ravel(results['frame_inds'])
    imgs = list(reader.get_batch(chosen))
    results.pop('frames_seen', []).extend(chosen.tolist())
    size = imgs[0].shape[:2]
    results.update(imgs=imgs, original_shape=size, img_shape=size)
    return results


def modality(config: Config) -> tuple[str, int]:
    """What a model sees: ('RGB', 3) or ('Flow', 2), the number being of channels.

    Raises:
        ValueError: It sees something else.
    """
    name = dataset_of_tests(config).get('modality', 'RGB')
    if name not in _CHANNELS:
        raise ValueError(f'The test data set of this config is of modality {name!r}; '
                         f'models of {tuple(_CHANNELS)} are known here.')
    return name, _CHANNELS[name]


def _kind(part: dict) -> str:
    kind = part['type']
    return (kind if isinstance(kind, str) else kind.__name__).split('.')[-1]


def _centered(step: dict, is_3d: bool) -> dict:
    """A step that makes one view of what made several."""
    if _kind(step) in _CROPS:
        return dict(type='CenterCrop', crop_size=step['crop_size'])
    if is_3d and _kind(step) == 'SampleFrames':
        return dict(step, num_clips=1, twice_sample=False)
    return step


def action_pipeline(config: Config, views: str = 'test') -> list:
    """Steps from a reader of frames to the inputs of a recogniser.

    Args:
        config: Its ``test_dataloader`` holds the test pipeline.
        views: 'test': what the pipeline makes, as ten crops. 'center': one view, the
            centre crop of the middle clip. (The segments that a 2-D recogniser looks
            at are one view together.)

    Returns:
        Steps for mmengine's ``Compose``. They need ``video_reader``,
        ``total_frames``, ``avg_fps``, ``start_index=0`` and ``modality``.

    Raises:
        ValueError: ``views`` is another, or the pipeline decodes no frames.
    """
    if views not in VIEWS:
        raise ValueError(f'views must be one of {VIEWS}, got {views!r}.')
    steps = dataset_of_tests(config).get('pipeline') or ()
    if not any(_kind(step) in _DECODING for step in steps):
        raise ValueError(
            'The test pipeline of this config does not decode frames of a video: it '
            f'has none of the steps {", ".join(_DECODING)}.')
    steps = [take_frames if _kind(step) in _DECODING else dict(step)
             for step in steps if not _kind(step).endswith('Init')]
    return steps if views == 'test' else _one_view(config, steps)


def _one_view(config: Config, steps: Iterable) -> list:
    is_3d = _kind(config.model) == 'Recognizer3D'
    return [step if callable(step) else _centered(step, is_3d) for step in steps]


def use_center_view(config: Config) -> None:
    """Let a test look at one view of a clip: see ``views`` of :func:`action_pipeline`.

    Raises:
        ValueError: The config tests no recogniser of actions.
    """
    if _kind(config.model) not in ('Recognizer2D', 'Recognizer3D'):
        raise ValueError('--views: this config is not one of action recognition.')
    dataset = dataset_of_tests(config)
    while 'pipeline' not in dataset and isinstance(dataset.get('dataset'), dict):
        dataset = dataset['dataset']
    dataset['pipeline'] = _one_view(config, dataset['pipeline'])

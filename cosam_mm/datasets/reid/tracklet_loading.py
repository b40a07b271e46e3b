"""From a tracklet's image files to what the model gets: choose, read, pack frames.

    SampleTrackletFrames   which frames make the clips that go through the network
    LoadTrackletFrames     the images of these frames, out of files that may be broken
    (sizes and random changes, see ``tracklet_augmentation.py``)
    PackTrackletInputs     one tensor, and a data sample with all else

Gao and Nevatia, *Revisiting Temporal Modeling for Video-based Person ReID*, 2018,
section 4, compares ways of choosing. A tracklet of fewer frames than T, and the rest
that is left for the last of ``all_clips``, are looped: 0 1 2 0. Only ``even`` spreads
them: 0 0 1 2. The functions that choose take ``num_frames`` of the tracklet and
``clip_len`` T, both at least 1, and give (num_clips, T) frame numbers from 0, int64.
Randomness comes from numpy's global generator, which mmengine seeds in each worker.

A file that is missing, damaged or a single pixel wide is no reason to lose a tracklet:
the nearest readable frame of the same tracklet stands in for it. Each such file is
logged once in a process, with its name and how many there were before, and noted with
the sample, see ``unreadable_samples.py``. A tracklet without any readable frame meets
the policy of the transform: ``skip`` (training: the data set gives another one) or
``blank`` (testing: a black tracklet marked ``unreadable``, which metrics leave out).
"""
import logging
from collections.abc import Sequence
from typing import Optional

import numpy as np
import torch
from mmengine.logging import print_log

from cosam_mm.datasets.image_files import UnreadableImage, read_image
from cosam_mm.datasets.unreadable_samples import (
    BLANK,
    REPLACED,
    SKIPPED,
    check_time_limit,
    note_unreadable,
    tick,
    within,
)
from cosam_mm.registry import TRANSFORMS
from cosam_mm.structures.tracklet import TrackletDataSample

__all__ = ['LoadTrackletFrames', 'PackTrackletInputs', 'SampleTrackletFrames',
           'TrackletTransform', 'all_clips']

_ACTIONS = dict(
    skip='the tracklet is passed over',
    blank='black frames stand in and are left out of the metrics')
_NEEDED_KEYS = ('pid', 'label', 'camid', 'subset', 'tracklet_id', 'dataset',
                'num_frames', 'num_clips', 'clip_len', 'clip_sampling')


def _consecutive_frames(num_frames: int, clip_len: int) -> np.ndarray:
    """One clip of frames in a row, from a random start.

    >>> _consecutive_frames(3, 4)
    array([[0, 1, 2, 0]])
    """
    start = np.random.randint(max(num_frames - clip_len, 0) + 1)
    return (start + np.arange(clip_len)[None]) % num_frames


def _random_frames(num_frames: int, clip_len: int) -> np.ndarray:
    """One clip of different random frames, in order.

    >>> _random_frames(3, 4)
    array([[0, 1, 2, 0]])
    """
    if num_frames < clip_len:
        return np.arange(clip_len)[None] % num_frames
    return np.sort(np.random.permutation(num_frames)[:clip_len])[None]


def _even_frames(num_frames: int, clip_len: int) -> np.ndarray:
    """One clip of the middle frames of ``clip_len`` equal parts of the tracklet.

    >>> _even_frames(12, 4), _even_frames(3, 4)
    (array([[ 1,  4,  7, 10]]), array([[0, 1, 1, 2]]))
    """
    return (2 * np.arange(clip_len)[None] + 1) * num_frames // (2 * clip_len)


def all_clips(num_frames: int, clip_len: int) -> np.ndarray:
    """Every frame, in ceil(num_frames / clip_len) clips; the rest of the last loops.

    >>> all_clips(6, 4)
    array([[0, 1, 2, 3],
           [4, 5, 4, 5]])
    """
    num_whole, rest = divmod(num_frames, clip_len)
    clips = np.arange(num_whole * clip_len).reshape(num_whole, clip_len)
    if rest:
        last = num_whole * clip_len + np.arange(clip_len)[None] % rest
        clips = np.concatenate([clips, last])
    return clips


class TrackletTransform:
    """A transform that shows its settings, which are its public attributes."""

    def __repr__(self) -> str:
        settings = ', '.join(f'{key}={value!r}' for key, value in vars(self).items()
                             if not key.startswith('_'))
        return f'{type(self).__name__}({settings})'


@TRANSFORMS.register_module()
class SampleTrackletFrames(TrackletTransform):
    """Choose the frames of a tracklet's clips.

    Needs ``img_paths``. Adds ``frame_inds`` (num_clips, T), ``num_clips``,
    ``clip_len``, ``num_frames`` (images of the tracklet) and ``clip_sampling`` (in
    words, for reports).

    Args:
        num_frames: Frames of a clip, T.
        mode: 'consecutive': T frames in a row, from a random start, for training;
            'random': T frames anywhere, in order, the ablation of it; 'even': T frames
            spread evenly, a fast test; 'all_clips': all frames, in clips of T without
            overlap, the papers' test.
    """

    modes = dict(consecutive=_consecutive_frames, random=_random_frames,
                 even=_even_frames, all_clips=all_clips)

    def __init__(self, num_frames: int = 4, mode: str = 'consecutive') -> None:
        if mode not in self.modes:
            raise ValueError(f'mode must be one of {tuple(self.modes)}, got {mode!r}.')
        if not isinstance(num_frames, int) or num_frames < 1:
            raise ValueError(
                f'num_frames must be an integer of at least 1, got {num_frames!r}.')
        self.num_frames = num_frames
        self.mode = mode

    def __call__(self, results: dict) -> dict:
        num_frames = len(results['img_paths'])
        frame_inds = self.modes[self.mode](num_frames, self.num_frames)
        results.update(
            frame_inds=frame_inds, num_clips=len(frame_inds), num_frames=num_frames,
            clip_len=self.num_frames,
            clip_sampling=f'{self.mode}, {self.num_frames} frames')
        return results


@TRANSFORMS.register_module()
class LoadTrackletFrames(TrackletTransform):
    """Read the frames that :class:`SampleTrackletFrames` chose.

    Needs ``img_paths`` and ``frame_inds``. Adds ``imgs`` (a list of
    num_clips * T arrays (H, W, 3), uint8, RGB, of any sizes, clip by clip) and
    ``num_replaced``, how many of them another frame stands in for.

    Args:
        on_unreadable: What becomes of a tracklet without a readable frame: 'skip'
            gives None instead, 'blank' gives black frames and sets
            ``unreadable=True``.
        blank_size: (height, width) of black frames in pixels.
        time_limit: Seconds that one image may take; where it takes longer, the tracklet
            is unreadable.
        white_level: What counts as white in grey images of more than 8 bits, as 4095
            for 12 bits in files of 16. Default: such images are unreadable.
    """

    def __init__(self, on_unreadable: str = 'skip',
                 blank_size: tuple[int, int] = (256, 128),
                 time_limit: float = 60, white_level: Optional[float] = None) -> None:
        check_time_limit(time_limit)
        if white_level is not None and not 0 < white_level < float('inf'):
            raise ValueError('white_level must be None or the value of white, as 4095 '
                             f'of 12 bits, got {white_level!r}.')
        if on_unreadable not in _ACTIONS:
            raise ValueError(f'on_unreadable must be one of {tuple(_ACTIONS)}, got '
                             f'{on_unreadable!r}.')
        self.on_unreadable = on_unreadable
        self.blank_size = tuple(blank_size)
        self.time_limit = time_limit
        self.white_level = white_level
        self._unreadable: set[str] = set()

    def __call__(self, results: dict):
        if 'frame_inds' not in results:
            raise ValueError('Put SampleTrackletFrames before LoadTrackletFrames.')
        inds = results['frame_inds'].ravel().tolist()
        name = str(results.get('tracklet_id', results['img_paths'][0]))

        def read():
            wanted = dict.fromkeys(inds)  # each frame once
            return {index: self._read_or_replace(results, index) for index in wanted}

        try:
            images = within(self.time_limit, name, read)
        except (TimeoutError, UnreadableImage) as error:
            return self._without_frames(results, name, error)
        results['imgs'] = [images[index][1] for index in inds]
        results['num_replaced'] = sum(images[index][0] != index for index in inds)
        return results

    @property
    def num_unreadable(self) -> int:
        """Unreadable images met so far, in this process."""
        return len(self._unreadable)

    def _read_or_replace(self, results: dict, index: int) -> tuple:
        """(number, image) of a frame or of the nearest that can be read."""
        paths, unreadable = results['img_paths'], []
        for candidate in sorted(range(len(paths)), key=lambda k: (abs(k - index), k)):
            tick()
            try:
                image = read_image(paths[candidate], self.white_level)
            except UnreadableImage as error:
                unreadable.append((paths[candidate], error))
                continue
            for path, error in unreadable:
                note_unreadable(results, REPLACED, path, error)
                self._report(path, f'{path} ({error}); {paths[candidate]} and others '
                                   'near it stand in for it')
            return candidate, image
        path, error = unreadable[0]
        reason = f'{path} ({error}), like all {len(paths)} frames of its tracklet'
        self._report(path, f'{reason}; {_ACTIONS[self.on_unreadable]}')
        self._unreadable.update(paths)
        raise UnreadableImage(reason)

    def _report(self, path: str, message: str) -> None:
        """Log an unreadable image, once in a process."""
        if path not in self._unreadable:
            self._unreadable.add(path)
            print_log(f'Unreadable image {self.num_unreadable}: {message}.',
                      logger='current', level=logging.WARNING)

    def _without_frames(self, results: dict, name: str, error: Exception):
        """What the policy makes of a tracklet that cannot be read."""
        if isinstance(error, TimeoutError):
            self._report(name, f'{name} ({error}); {_ACTIONS[self.on_unreadable]}')
        if self.on_unreadable == 'skip':
            note_unreadable(results, SKIPPED, name, error)
            return None
        note_unreadable(results, BLANK, name, error)
        count = results['frame_inds'].size
        results.update(
            imgs=list(np.zeros((count, *self.blank_size, 3), np.uint8)),
            num_replaced=count, unreadable=True)
        return results


def _stack_clips(frames: Sequence[np.ndarray], clip_len: int) -> torch.Tensor:
    """Clips (num_clips, C, T, H, W) of num_clips * T frames (H, W, C)."""
    shapes = {frame.shape for frame in frames}
    if len(shapes) > 1:
        raise ValueError(
            f'The frames of a tracklet differ in size: {sorted(shapes)}. Put '
            'ResizeFrames or RandomTranslation2D into the pipeline.')
    height, width, channels = shapes.pop()
    clips = np.stack(frames).reshape(-1, clip_len, height, width, channels)
    return torch.from_numpy(np.ascontiguousarray(clips.transpose(0, 4, 1, 2, 3)))


@TRANSFORMS.register_module()
class PackTrackletInputs(TrackletTransform):
    """Make what the model gets of a tracklet.

    Gives ``inputs``, a uint8 tensor (num_clips, C, T, H, W), and ``data_samples``, a
    :class:`TrackletDataSample`.

    Args:
        extra_keys: Further keys for the data sample, such as 'img_paths' and
            'frame_inds' to show results with.
    """

    def __init__(self, extra_keys: Sequence[str] = ()) -> None:
        self.extra_keys = tuple(extra_keys)

    def __call__(self, results: dict) -> dict:
        keys = dict.fromkeys((*_NEEDED_KEYS, *self.extra_keys))
        missing = [key for key in ('imgs', *keys) if key not in results]
        if missing:
            raise ValueError(
                f'PackTrackletInputs needs {missing}, and neither the data set nor a '
                'transform before it gives them.')
        metainfo = {key: results[key] for key in keys}
        metainfo['num_replaced'] = results.get('num_replaced', 0)
        metainfo['unreadable'] = results.get('unreadable', False)
        return dict(
            inputs=_stack_clips(results['imgs'], results['clip_len']),
            data_samples=TrackletDataSample(metainfo=metainfo))

"""What a user hands over as one video, made a list of frames.

    video file          its path
    images              a folder (in natural order), or a list of paths
    frames in memory    a list of PIL images or arrays (H, W, 3), or an array
                        (T, H, W, 3)

Frames in memory are uint8 from 0 to 255, RGB or, as OpenCV's, BGR: ``channel_order``
says which, for arrays only. Image files and PIL images become RGB by themselves, see
``image_files.py``.
"""
import os
from collections.abc import Sequence
from typing import Any, Optional, Union

import numpy as np
from PIL import Image

from cosam_mm.datasets.image_files import (
    UnreadableImage,
    list_folders,
    list_images,
    read_image,
    rgb_pixels,
    warn_other_files,
)
from cosam_mm.datasets.unreadable_samples import TIME_LIMIT
from cosam_mm.datasets.video_reader import UnreadableVideo, VideoReader

__all__ = ['MemoryReader', 'check_channel_order', 'describe', 'image_files', 'is_path',
           'open_video', 'read_frames']

_KINDS = ('a path of a video file or of a folder of images, a list of image paths, PIL '
          'images or arrays (H, W, {c}), or an array (T, H, W, {c})')
_CHANNEL_ORDERS = ('rgb', 'bgr')
_BATCH_ADVICE = 'One list is one video, frame by frame: predict_batch takes several.'


def is_path(item: Any) -> bool:
    """Whether an item names a file."""
    return isinstance(item, (str, os.PathLike))


def check_channel_order(channel_order: str) -> str:
    """The order of channels, if it is one."""
    if channel_order not in _CHANNEL_ORDERS:
        raise ValueError(f'channel_order must be one of {_CHANNEL_ORDERS}, got '
                         f'{channel_order!r}.')
    return channel_order


def describe(video: Any) -> str:
    """A name for messages."""
    if is_path(video):
        return os.fspath(video)
    if isinstance(video, np.ndarray):
        return f'the array of shape {video.shape}'
    if isinstance(video, Sequence) and video and is_path(video[0]):
        return f'the images {os.fspath(video[0])}, ...'
    return 'the frames'


def image_files(folder: str) -> list[str]:
    """Paths of the images in a folder, in natural order; at least one, or an error."""
    if not os.path.isdir(folder):
        raise FileNotFoundError(f'There is no folder {folder}.')
    names = list_images(folder, others := [])
    warn_other_files(others, folder)
    if not names:
        inside = list_folders(folder)
        raise ValueError(f'The folder {folder} holds no images'
                         + (f', only folders ({inside[0]}, ...).' if inside else '.'))
    return [os.path.join(folder, name) for name in names]


def _advice(array: np.ndarray, channels: int) -> str:
    """What probably went wrong with an array that is no frame, or no frames."""
    if array.ndim > 4 or array.ndim < 2:
        return ''
    if array.dtype.kind == 'f':
        return ' Of values from 0 to 1, (255 * x).round().astype("uint8") makes bytes.'
    if array.shape[-1] == channels:
        return ''
    if array.shape[-1] == 1:
        return ' Repeat a grey channel: x.repeat(3, axis=-1).'
    if array.shape[-1] == 4:
        return ' Leave the fourth channel out: x[..., :3].'
    if array.ndim > 2 and array.shape[-3] == channels:
        return ' Channels come last: np.moveaxis(x, -3, -1).'
    return ' Repeat grey frames: np.stack([x] * 3, axis=-1).'


def _check_array(array: np.ndarray, shape: str, channels: int, name: str) -> None:
    fits = (array.ndim == shape.count(',') + 1 and array.shape[-1] == channels
            and array.dtype == np.uint8)
    if not fits:
        order = 'RGB' if channels == 3 else 'horizontal, then vertical flow'
        raise ValueError(f'{name} must be uint8 of shape {shape}, {order}; got '
                         f'{array.dtype} of shape {array.shape}.'
                         f'{_advice(array, channels)}')
    if 0 in array.shape:
        raise ValueError(f'{name} is empty: its shape is {array.shape}.')


def _frame(item: Any, number: int, channels: int, channel_order: str,
           white_level: Optional[float]) -> np.ndarray:
    """One frame (H, W, channels) of an item of a list."""
    if channels == 3 and (is_path(item) or isinstance(item, Image.Image)):
        name = os.fspath(item) if is_path(item) else f'frame {number}, a PIL image,'
        try:
            return read_image(name, white_level) if is_path(item) \
                else rgb_pixels(item, white_level)
        except UnreadableImage as error:
            raise ValueError(f'The image {name} cannot be read: {error}. '
                             f'{_BATCH_ADVICE}') from None
    if not isinstance(item, np.ndarray):
        kinds = 'an array' if channels != 3 else 'a path, a PIL image or an array'
        raise ValueError(f'Frame {number} is a {type(item).__name__}; {kinds} is '
                         'needed.')
    if item.ndim == 4:
        raise ValueError(f'Frame {number} is an array of shape {item.shape}, a whole '
                         f'video. {_BATCH_ADVICE}')
    _check_array(item, f'(H, W, {channels})', channels, f'Frame {number}')
    return item[..., ::-1] if channels == 3 and channel_order == 'bgr' else item


def read_frames(video: Any, channels: int = 3, channel_order: str = 'rgb',
                white_level: Optional[float] = None) -> list[np.ndarray]:
    """The frames of anything but a video file.

    Args:
        video: Folder, list or array as above.
        channels: 3, or 2 for optical flow, which comes as arrays only.
        channel_order: Of arrays of 3 channels, 'rgb' or 'bgr'.
        white_level: See :func:`~cosam_mm.datasets.image_files.rgb_pixels`.

    Returns:
        T arrays (H, W, channels), uint8, RGB, perhaps of different sizes, not copied.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: It is nothing of that kind, or an image cannot be read.
    """
    if is_path(video):
        video = image_files(os.fspath(video))
    if isinstance(video, np.ndarray):
        _check_array(video, f'(T, H, W, {channels})', channels, 'The array')
        video = list(video)
    if not isinstance(video, (list, tuple)):
        raise ValueError(f'A {type(video).__name__} is no video: give '
                         f'{_KINDS.format(c=channels)}.')
    if not video:
        raise ValueError('The list of frames is empty.')
    return [_frame(item, number, channels, channel_order, white_level)
            for number, item in enumerate(video)]


class MemoryReader:
    """Frames in memory, T arrays (H, W, C) of one shape, read like a video file."""

    def __init__(self, frames: Sequence[np.ndarray]) -> None:
        shapes = sorted({frame.shape for frame in frames})
        if len(shapes) > 1:
            raise ValueError(f'The frames of a video must be of one size, got {shapes}'
                             ': resize them.')
        self._frames = frames

    def __len__(self) -> int:
        return len(self._frames)

    def get_avg_fps(self) -> float:
        """0, for they have no rate: MMAction2 then samples them as they are."""
        return 0.

    def get_batch(self, indices: Sequence[int]) -> np.ndarray:
        """Frames by number (n, H, W, C), copied."""
        return np.stack([self._frames[index] for index in indices])


def open_video(video: Any, channels: int = 3, channel_order: str = 'rgb',
               time_limit: float = TIME_LIMIT
               ) -> Union[VideoReader, MemoryReader]:
    """A reader of a video file, or of what :func:`read_frames` takes.

    Args:
        video: Path of a file, or anything of :func:`read_frames`.
        channels: As there.
        time_limit: Seconds without data after which a file is given up; a long one
            takes the time it needs.

    Raises:
        FileNotFoundError: There is no such file or folder.
        ValueError: As there, or the file does not decode, or the frames differ in size.
    """
    if not is_path(video) or os.path.isdir(video):
        return MemoryReader(read_frames(video, channels, channel_order))
    path = os.fspath(video)
    if not os.path.isfile(path):
        raise FileNotFoundError(f'There is no video {path}.')
    try:
        return VideoReader(path, time_limit=time_limit)
    except UnreadableVideo as error:
        raise ValueError(f'{path} cannot be decoded: {error}') from None

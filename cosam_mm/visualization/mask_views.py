"""A video through a test pipeline: what goes in, what comes out, where it looks.

The steps that load are run once, all others twice: on the frames, and on frames whose
colours tell their places. So it is found out where the network looks, whichever
resizes, crops and flips a pipeline is made of::

    video -- load --> frames -- other steps --> inputs of the model
                        |
                        +-> painted places -- other steps --> view

What loads is one of three:

    videos      a step that decodes, of MMAction2 or of ours
    tracklets   LoadTrackletFrames
    images      LoadImageFromFile; the frames of a clip are samples of their own
"""
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from torch import Tensor, nn

from cosam_mm.apis.action_pipeline import action_pipeline, modality, take_frames
from cosam_mm.apis.model_loading import scope_of
from cosam_mm.apis.video_input import (
    describe,
    image_files,
    is_path,
    open_video,
    read_frames,
)
from cosam_mm.datasets.reid.tracklet_loading import all_clips
from cosam_mm.datasets.video_reader import UnreadableVideo

from .mask_inputs import clip_frames
from .mask_placement import Box, fit_view, paint_places

__all__ = ['ClipReader', 'ReadClip', 'padded_view']

_GUESSED_FPS = 8.
_LOADS_TRACKLETS, _LOADS_IMAGES = 'LoadTrackletFrames', 'LoadImageFromFile'


@dataclass(frozen=True)
class ReadClip:
    """One video, ready for a model.

    Attributes:
        name: For titles.
        frames: M * T arrays (H, W, C), uint8, as they were loaded; RGB or flow.
        numbers: (M * T,) of the frames in their video.
        num_clips: M, of those that the frames belong to.
        samples: What the pipeline makes, to be collated into a batch.
        box: What the network sees of the first frame; None where it cannot be told.
        fps: Frames a second.
    """
    name: str
    frames: Sequence[np.ndarray]
    numbers: np.ndarray
    num_clips: int
    samples: Sequence[dict]
    box: Optional[Box]
    fps: float


class ClipReader:
    """Reads videos by the test pipeline of a config.

    Args:
        config: With ``test_dataloader``, or at least ``val_dataloader``.
        clip_len: Frames of a clip, where the pipeline makes single images.
        max_frames: Frames of a tracklet or of single images to take, from the first.

    Raises:
        ValueError: The pipeline loads nothing that is known here.
    """

    def __init__(self, config: Config, clip_len: int, max_frames: int = 64) -> None:
        steps, kinds = _test_steps(config)
        self._clip_len, self._max_frames = clip_len, max_frames
        if _LOADS_TRACKLETS in kinds:
            self._read, place = self._read_tracklet, kinds.index(_LOADS_TRACKLETS) + 1
            steps[place - 1].update(on_unreadable='skip')
            steps[place - 1].pop('blank_size', None)
        elif _LOADS_IMAGES in kinds:
            self._read, place = self._read_images, kinds.index(_LOADS_IMAGES) + 1
        else:
            if config.get('test_dataloader') is None:
                config = Config(dict(config.to_dict(),
                                     test_dataloader=config.get('val_dataloader')))
            self._modality, self._channels = modality(config)
            steps = action_pipeline(config, 'center')
            self._read, place = self._read_video, steps.index(take_frames) + 1
        with scope_of(config):
            self._load = Compose([_Taken() if _kind(step) == _LOADS_IMAGES else step
                                  for step in steps[:place]])
            self._choose = Compose(steps[:place - 1])
            self._rest = Compose(steps[place:])

    def read(self, video: Any) -> ReadClip:
        """Read a video.

        Args:
            video: Path of a video file or of a folder of images, a list of image
                paths, PIL images or arrays (H, W, 3), or an array (T, H, W, 3); a
                video file does not do for a model of tracklets.

        Raises:
            FileNotFoundError: There is no such file or folder.
            ValueError: It is no video, or it cannot be read.
        """
        return self._read(video)

    # -- the three kinds -----------------------------------------------------

    def _read_video(self, video: Any) -> ReadClip:
        if self._modality == 'Flow' and is_path(video):
            raise ValueError(
                f'{describe(video)} is a file, and this model sees optical flow: give '
                'it as an array (T, H, W, 2).')
        reader = open_video(video, self._channels)
        fps = reader.get_avg_fps()
        try:
            results = self._load(dict(
                video_reader=reader, total_frames=len(reader), avg_fps=fps,
                start_index=0, modality=self._modality, label=-1,
                filename=describe(video)))
        except UnreadableVideo as error:
            raise ValueError(f'{describe(video)} cannot be decoded: {error}') from None
        imgs = results['imgs']

        def process(images: Sequence[np.ndarray]) -> dict:
            return self._rest(dict(results, imgs=list(images)))

        sample = process(imgs)
        inputs = sample['inputs']
        count = inputs.shape[2] if inputs.dim() == 5 else len(imgs)
        numbers = np.ravel(results['frame_inds'])[:count] % len(reader)
        step = max(np.median(np.abs(np.diff(numbers))), 1) if count > 1 else 1
        return ReadClip(
            _name(video), imgs[:count], numbers, 1, [sample],
            _find_view(lambda images: _first_frame(process(images)), imgs),
            fps / step if fps > 0 else _GUESSED_FPS)

    def _read_tracklet(self, tracklet: Any) -> ReadClip:
        about = dict(tracklet_id=describe(tracklet), pid=-1, label=-1, camid=-1,
                     subset='gallery', dataset='')
        paths = _image_paths(tracklet)
        if paths:
            results = self._load(dict(about, img_paths=paths[:self._max_frames]))
            if results is None:
                raise ValueError(f'No image of {describe(tracklet)} can be read.')
        else:
            frames = read_frames(tracklet)[:self._max_frames]
            results = self._choose(dict(about, img_paths=[''] * len(frames)))
            results['imgs'] = [frames[k] for k in np.ravel(results['frame_inds'])]
        imgs, indices = results['imgs'], results['frame_inds']

        def process(images: Sequence[np.ndarray]) -> dict:
            return self._rest(dict(results, imgs=list(images)))

        return ReadClip(
            _name(tracklet), imgs, indices.ravel(), len(indices), [process(imgs)],
            _find_view(lambda images: _first_frame(process(images)), imgs),
            _GUESSED_FPS)

    def _read_images(self, video: Any) -> ReadClip:
        reader = open_video(video)
        count = min(len(reader), max(self._max_frames, self._clip_len))
        indices = all_clips(count, self._clip_len)
        imgs = list(reader.get_batch(indices.ravel()))

        def process(image: np.ndarray, number: int = 0) -> dict:
            return self._rest(self._load(dict(
                frame=image, img_path=f'{describe(video)}#{number}', img_id=number,
                sample_idx=number, instances=[])))

        samples = [process(image, number) for number, image in enumerate(imgs)]
        fps = reader.get_avg_fps()
        # Painted places are in the order of channels that RGB comes in.
        box = _find_view(lambda images: process(images[0])['inputs'], imgs[:1])
        return ReadClip(_name(video), imgs, indices.ravel(), len(indices), samples, box,
                        fps if fps > 0 else _GUESSED_FPS)


class _Taken:
    """Pipeline step in place of one that loads an image: it is there already."""

    def __call__(self, results: dict) -> dict:
        frame = results.pop('frame')
        size = frame.shape[:2]
        results.update(img=np.ascontiguousarray(frame[..., ::-1]),  # BGR, as files are
                       img_shape=size, ori_shape=size, height=size[0], width=size[1])
        return results


def _test_steps(config: Config) -> tuple[list, list[str]]:
    """Steps of the test pipeline, and the names of their classes."""
    loader = config.get('test_dataloader') or config.get('val_dataloader') or {}
    dataset = loader.get('dataset') or {}
    while 'pipeline' not in dataset:
        inner = [dataset[key] for key in ('gallery', 'dataset')
                 if isinstance(dataset.get(key), Mapping)]
        if not inner:
            break
        dataset = inner[0]
    steps = [dict(step) for step in dataset.get('pipeline') or ()]
    return steps, [_kind(step) for step in steps]


def _kind(step: Any) -> str:
    kind = step['type'] if isinstance(step, dict) else type(step)
    return (kind if isinstance(kind, str) else kind.__name__).split('.')[-1]


def _name(video: Any) -> str:
    if is_path(video):
        return Path(os.fspath(video)).name
    if isinstance(video, Sequence) and video and is_path(video[0]):
        first = Path(os.fspath(video[0]))
        return f'{first.parent.name}/{first.stem}'
    return describe(video)


def _image_paths(tracklet: Any) -> list[str]:
    """Paths of a tracklet's images; none of one in memory."""
    if is_path(tracklet):
        if os.path.isfile(tracklet):
            raise ValueError(
                f'{os.fspath(tracklet)} is a file, and this model sees tracklets: give '
                'a folder of images.')
        return image_files(os.fspath(tracklet))
    is_list = isinstance(tracklet, (list, tuple)) and all(map(is_path, tracklet))
    return [os.fspath(path) for path in tracklet] if is_list else []


def _first_frame(sample: dict) -> Tensor:
    """(C, H, W) of the first frame of a sample's first view."""
    inputs = sample['inputs']
    count = len(inputs) if inputs.dim() == 5 else 1
    return clip_frames([inputs], count)[0]


def _find_view(process: Callable[[Sequence[np.ndarray]], Tensor],
               imgs: Sequence[np.ndarray]) -> Optional[Box]:
    """What is left of a frame after ``process``; None where that cannot be told."""
    def run(paint: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        seen = process([paint(image) for image in imgs])   # (C, H, W)
        return seen.permute(1, 2, 0).double().numpy()

    seen = process([paint_places(image) for image in imgs])
    is_bytes = seen.dtype == torch.uint8
    seen = seen.permute(1, 2, 0).double().numpy()
    if not is_bytes:  # normalised: what black and white become tells how
        black, white = run(np.zeros_like), run(lambda image: np.full_like(image, 255))
        with np.errstate(divide='ignore', invalid='ignore'):
            seen = np.nan_to_num(255 * (seen - black) / (white - black))
    try:
        return fit_view(seen)
    except ValueError:
        return None


def padded_view(box: Box, model: nn.Module, clip: ReadClip) -> Box:
    """The view with what the preprocessor adds at its right and lower side.

    Args:
        box: What the pipeline leaves of a frame.
        model: Its preprocessor pads, perhaps.
        clip: One that went through the pipeline.
    """
    preprocessor = getattr(model, 'data_preprocessor', None)
    if preprocessor is None:
        return box
    before = clip.samples[0]['inputs'].shape[-2:]
    inputs = preprocessor(pseudo_collate([clip.samples[0]]), False)['inputs']
    after = inputs[0].shape[-2:]
    left, top, right, bottom = box
    return (left, top, left + (right - left) * after[1] / before[1],
            top + (bottom - top) * after[0] / before[0])

"""Run a model on a video by its test pipeline and record the masks of its COSAMs.

The loading steps of a pipeline run once, all others twice: on the frames, and on frames
whose colours encode positions. That tells which part of a frame the network sees,
whatever resizes, crops and flips the pipeline consists of::

    video -- load --> frames -- other steps --> inputs of the model
                        |
                        +-> painted positions -- other steps --> view

Three kinds of pipelines are known:

    videos      a decoding step of MMAction2 or of this package
    tracklets   LoadTrackletFrames
    images      LoadImageFromFile; each frame of a clip is a sample
"""
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, Union

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from torch import Tensor, nn

from cosam_mm.apis import model_loading, video_input
from cosam_mm.apis.action_pipeline import action_pipeline, modality, take_frames
from cosam_mm.apis.video_input import describe, is_path, open_video, read_frames
from cosam_mm.datasets.reid.tracklet_loading import all_clips
from cosam_mm.datasets.video_reader import UnreadableVideo
from cosam_mm.layers import COSAM
from cosam_mm.layers.mask_recording import ModuleMasks, record_masks

from . import mask_maps
from .mask_maps import AFTER, BEFORE, WHOLE_FRAME, Box, MaskedClip

__all__ = ['ClipReader', 'MaskRecorder', 'ReadClip', 'batch_clip', 'make_recorder',
           'padded_view']

_DEFAULT_FPS = 8.
_LOADS_TRACKLETS, _LOADS_IMAGES = 'LoadTrackletFrames', 'LoadImageFromFile'


@dataclass(frozen=True)
class ReadClip:
    """One video, ready for a model: M clips of T frames."""
    name: str                     # for titles
    frames: Sequence[np.ndarray]  # M * T arrays (H, W, C), uint8; RGB or optical flow
    numbers: np.ndarray           # (M * T,) indices of the frames in their video
    num_clips: int                # M
    samples: Sequence[dict]       # output of the pipeline, to be collated into a batch
    box: Optional[Box]            # view of the first frame; None if it is not known
    fps: float


class ClipReader:
    """Reads videos by the test pipeline of a config.

    Args:
        config: With ``test_dataloader``, or at least ``val_dataloader``.
        clip_len: Frames of a clip, if the pipeline yields single images.
        max_frames: Number of first frames to take of a tracklet or of single images.

    Raises:
        ValueError: No loading step of the pipeline is known.
    """

    def __init__(self, config: Config, clip_len: int, max_frames: int = 64) -> None:
        if config.get('test_dataloader') is None:
            config = Config(dict(config.to_dict(),
                                 test_dataloader=config.get('val_dataloader')))
        dataset = model_loading.dataset_of_tests(config)
        while dataset and 'pipeline' not in dataset:
            dataset = dataset.get('gallery') or dataset.get('dataset')
        steps = [dict(step) for step in (dataset or {}).get('pipeline') or ()]
        kinds = [getattr(step['type'], '__name__', step['type']).split('.')[-1]
                 for step in steps]
        self._clip_len, self._max_frames = clip_len, max_frames
        if _LOADS_TRACKLETS in kinds:
            self._load, stop = self._load_tracklet, kinds.index(_LOADS_TRACKLETS)
            steps[stop].update(on_unreadable='skip')
            steps[stop].pop('blank_size', None)
        elif _LOADS_IMAGES in kinds:
            self._load, stop = self._load_images, kinds.index(_LOADS_IMAGES)
            del steps[stop]  # frames in memory take the place of what it loads
        else:
            self._modality, self._channels = modality(config)
            steps = action_pipeline(config, 'center')
            self._load, stop = self._load_video, steps.index(take_frames)
        with model_loading.scope_of(config):
            self._sample, self._take, self._process = map(
                Compose, (steps[:stop], steps[stop:stop + 1], steps[stop + 1:]))

    def read(self, video: Any) -> ReadClip:
        """Read a video.

        Args:
            video: Path of a video file or of a folder of images, a list of image
                paths, PIL images or arrays (H, W, 3), or an array (T, H, W, 3). Models
                of tracklets take no video file. Of other videos that are longer than a
                clip, the middle one is read.

        Raises:
            FileNotFoundError: There is no such file or folder.
            ValueError: It is no video, or it cannot be read.
        """
        imgs, indices, process, fps = self._load(video)

        def first_frame(images: Sequence[np.ndarray]) -> Tensor:
            inputs = process(images)[0]['inputs']
            return _clip_frames([inputs], len(inputs) if inputs.dim() == 5 else 1)[0]

        samples, num_clips = process(imgs), len(indices)
        inputs = samples[0]['inputs']
        # Where each image is a sample, one tells the view.
        box = mask_maps.find_view(first_frame, imgs[:1] if inputs.dim() == 3 else imgs)
        count = num_clips * inputs.shape[2] if inputs.dim() == 5 else len(imgs)
        return ReadClip(_name(video), imgs[:count], indices.ravel()[:count], num_clips,
                        samples, box, fps if fps > 0 else _DEFAULT_FPS)

    def _load_video(self, video: Any) -> tuple:
        """Frames of the middle clip, their numbers, how they are processed, and fps."""
        if self._modality == 'Flow' and is_path(video):
            raise ValueError(f'{describe(video)} is a file; this model sees optical '
                             'flow: give it as an array (T, H, W, 2).')
        reader = open_video(video, self._channels)
        fps = reader.get_avg_fps()
        try:
            results = self._take(self._sample(dict(
                video_reader=reader, total_frames=len(reader), avg_fps=fps,
                start_index=0, modality=self._modality, label=-1,
                filename=describe(video))))
        except UnreadableVideo as error:
            raise ValueError(f'{describe(video)} cannot be decoded: {error}') from None
        numbers = np.ravel(results['frame_inds']) % len(reader)
        step = max(np.median(np.abs(np.diff(numbers))), 1) if len(numbers) > 1 else 1
        return results['imgs'], numbers[None], self._process_of(results), fps / step

    def _load_tracklet(self, tracklet: Any) -> tuple:
        """The same of all clips of a tracklet."""
        paths = _image_paths(tracklet)
        frames = None if paths else read_frames(tracklet)[:self._max_frames]
        results = self._sample(dict(
            tracklet_id=describe(tracklet), pid=-1, label=-1, camid=-1, dataset='',
            subset='gallery', img_paths=paths[:self._max_frames] or [''] * len(frames)))
        if paths:
            results = self._take(results)
            if results is None:
                raise ValueError(f'No image of {describe(tracklet)} can be read.')
        else:
            results['imgs'] = [frames[k] for k in np.ravel(results['frame_inds'])]
        return results['imgs'], results['frame_inds'], self._process_of(results), 0

    def _process_of(self, results: dict) -> Callable:
        return lambda images: [self._process(dict(results, imgs=list(images)))]

    def _load_images(self, video: Any) -> tuple:
        """The same of all clips of a video whose frames are single images."""
        reader = open_video(video)
        count = min(len(reader), max(self._max_frames, self._clip_len))
        indices = all_clips(count, self._clip_len)

        def process(images: Sequence[np.ndarray]) -> list[dict]:
            return [self._process(self._take(self._sample(dict(
                img=np.ascontiguousarray(image[..., ::-1]),  # BGR, as from files
                img_shape=image.shape[:2], ori_shape=image.shape[:2],
                height=image.shape[0], width=image.shape[1], img_id=number,
                img_path=f'{describe(video)}#{number}', sample_idx=number,
                instances=[])))) for number, image in enumerate(images)]

        return (list(reader.get_batch(indices.ravel())), indices, process,
                reader.get_avg_fps())


def _name(video: Any) -> str:
    """What to call a video in titles."""
    if is_path(video):
        return Path(os.fspath(video)).name
    if isinstance(video, Sequence) and video and is_path(video[0]):
        first = Path(os.fspath(video[0]))
        return f'{first.parent.name}/{first.stem}'
    return describe(video)


def _image_paths(tracklet: Any) -> list[str]:
    """Paths of a tracklet's images; empty for a tracklet in memory."""
    if not is_path(tracklet):
        is_list = isinstance(tracklet, (list, tuple)) and all(map(is_path, tracklet))
        return list(map(os.fspath, tracklet)) if is_list else []
    if os.path.isfile(tracklet):
        raise ValueError(f'{os.fspath(tracklet)} is a file, and this model sees '
                         'tracklets: give a folder of images.')
    return video_input.image_files(os.fspath(tracklet))


# -- masks -----------------------------------------------------------------------


class MaskRecorder:
    """Records the masks of videos.

    Videos go through the model as in a test, except that only the middle one of several
    views (ten crops, several clips) is taken. Of tracklets, and of videos whose frames
    are single images to the model, the first ``max_frames`` frames count.

    Args:
        model: Any model with a COSAM, in evaluation mode, with ``cfg``.
        before: The same model before training, to compare with.
        max_frames: See above.

    Raises:
        ValueError: The model has no COSAM, or no loading step of the config's test
            pipeline is known.
    """

    def __init__(self, model: nn.Module, before: Optional[nn.Module] = None,
                 max_frames: int = 64) -> None:
        self.models = {'': model} if before is None else {BEFORE: before, AFTER: model}
        clip_len = next((module.num_frames for module in model.modules()
                         if isinstance(module, COSAM)), None)
        if clip_len is None:
            raise ValueError(
                f'There is no COSAM in the {type(model).__name__} of this config: take '
                'one with cosam in its name, or add a COSAM to its backbone with '
                "plugins=[dict(cfg=dict(type='COSAM', ...), ...)].")
        self.config = model.cfg
        self._reader = ClipReader(model.cfg, clip_len, max_frames)

    def record(self, video: Any) -> MaskedClip:
        """Frames and masks of a video; input and errors as in :meth:`ClipReader.read`.

        The frames are those that were loaded; or, if the pipeline does more than
        resize, crop and flip, those that the network gets. A frame that occurs twice,
        as in a looped video, is there once.
        """
        with model_loading.scope_of(self.config):
            clip = self._reader.read(video)
            kept = mask_maps.first_occurrences(clip.numbers)
            masks, count = {}, len(clip.frames) // clip.num_clips
            for state, model in self.models.items():
                with torch.no_grad(), record_masks(model) as record:
                    model.test_step(pseudo_collate(list(clip.samples)))
                masks[state] = {
                    name: mask_maps.masks_of_frames(both, count, kept,
                                                    slice(clip.num_clips))
                    for name, both in record.masks().items()}
            frames, box = self._frames(clip)
        return MaskedClip(clip.name, [frames[k] for k in kept], clip.numbers[kept],
                          masks, box, clip.fps)

    def _frames(self, clip: ReadClip) -> tuple[list[np.ndarray], Box]:
        """All frames of the clip, and the network's view of them."""
        model = next(iter(self.models.values()))
        if clip.box is None:
            inputs = [sample['inputs'] for sample in clip.samples]
            views = len(inputs[0]) if inputs[0].dim() == 5 else clip.num_clips
            frames = torch.cat([_clip_frames(inputs, views, number)
                                for number in range(clip.num_clips)])
            return _to_images(frames, _is_bgr(model)), WHOLE_FRAME
        frames = (torch.from_numpy(frame).permute(2, 0, 1) for frame in clip.frames)
        return [image for frame in frames for image in _to_images(frame[None])], \
            padded_view(clip.box, model, clip)


def make_recorder(config: Config, checkpoint: Optional[model_loading.PathLike],
                  with_before: bool = False,
                  device: Union[str, torch.device, None] = None,
                  seed: Optional[int] = None, max_frames: int = 64) -> MaskRecorder:
    """A recorder for the model of a config.

    Args:
        config: Of a model with COSAM.
        checkpoint: File of the weights; None for those before training.
        with_before: Whether to compare with the weights before training.
        device: Default: the GPU, if there is one.
        seed: Of the weights before training. Default: that of the checkpoint, else
            that of the config, else 0.
        max_frames: As for :class:`MaskRecorder`.

    Raises:
        FileNotFoundError: A file does not exist.
        ValueError: The weights do not fit, or the model has no COSAM.
    """
    models = []
    if checkpoint is not None:
        trained = model_loading.read_trained_model(checkpoint, config)
        models.append(model_loading.load_model(trained, device=device))
        seed = trained.seed if seed is None else seed
    if checkpoint is None or with_before:
        seed = model_loading.seed_of_training(config) if seed is None else seed
        models.append(model_loading.untrained_model(config, seed, device))
    return MaskRecorder(*models, max_frames=max_frames)


def batch_clip(model: nn.Module, batch: Mapping, masks: Mapping[str, ModuleMasks],
               sample: int) -> MaskedClip:
    """The first clip of a sample, as the network gets it.

    Args:
        model: What the batch went through.
        batch: ``inputs`` of S samples: (V, C, T, H, W) of videos or tracklets,
            (T, C, H, W) of frames of a video, or (C, H, W) of the frames of clips; and
            ``data_samples``, whose ``sample_id`` or ``tracklet_id`` becomes the name.
        masks: Of the batch.
        sample: Index of the sample, or of the clip if the samples are frames; beyond
            the end, the last one.

    Raises:
        ValueError: The inputs are of no such kind.
    """
    inputs = batch.get('inputs')
    if not isinstance(inputs, (list, tuple, Tensor)) or not len(inputs) or not all(
            isinstance(one, Tensor) and one.dim() in (3, 4, 5) for one in inputs):
        raise ValueError('the inputs are not a list of frames, clips or tracklets')
    if not masks:
        raise ValueError('the COSAMs did not run')
    num_clips = len(next(mask for both in masks.values() for mask in both
                         if mask is not None))
    if inputs[0].dim() == 5:
        sample = min(sample, len(inputs) - 1)
        clip = sum(len(one) for one in inputs[:sample])
    else:
        per_sample = num_clips // len(inputs) or 1
        clip = min(sample * per_sample, num_clips - per_sample)
        sample = clip * len(inputs) // num_clips
    frames = _clip_frames(inputs, num_clips, clip)
    numbers = np.arange(len(frames))
    about = (batch.get('data_samples') or [None] * len(inputs))[sample]
    name = getattr(about, 'sample_id', getattr(about, 'tracklet_id', ''))
    return MaskedClip(
        str(name) or f'sample {sample}', _to_images(frames, _is_bgr(model)), numbers,
        {'': {key: mask_maps.masks_of_frames(
            both, len(frames), numbers, slice(clip, clip + 1))
            for key, both in masks.items()}})


def padded_view(box: Box, model: nn.Module, clip: ReadClip) -> Box:
    """A clip's view, including what the preprocessor adds at the right and below."""
    preprocessor = getattr(model, 'data_preprocessor', None)
    if preprocessor is None:
        return box
    before = clip.samples[0]['inputs'].shape[-2:]
    inputs = preprocessor(pseudo_collate([clip.samples[0]]), False)['inputs']
    after = inputs[0].shape[-2:]
    left, top, right, bottom = box
    return (left, top, left + (right - left) * after[1] / before[1],
            top + (bottom - top) * after[0] / before[0])


# -- inputs as images ------------------------------------------------------------


def _clip_frames(inputs: Sequence[Tensor], num_clips: int, clip: int = 0) -> Tensor:
    """(T, C, H, W), one of the clips in the inputs of a batch.

    Inputs of a sample are (V, C, T, H, W) of videos or tracklets, (T, C, H, W) of
    frames of a video, perhaps in several views, or (C, H, W) of a frame of a clip.
    """
    if inputs[0].dim() == 5:
        views = [view for sample in inputs for view in sample]
        if len(views) == num_clips:
            return views[clip].transpose(0, 1)
        raise ValueError(f'{len(views)} views do not make up {num_clips} clips.')
    frames = [frame for sample in inputs
              for frame in (sample if sample.dim() == 4 else [sample])]
    count, rest = divmod(len(frames), num_clips)
    if rest:
        raise ValueError(f'{len(frames)} frames do not make up {num_clips} clips.')
    return torch.stack(frames[clip * count:(clip + 1) * count])


def _is_bgr(model: nn.Module) -> bool:
    """Whether a model's preprocessor turns BGR inputs into RGB."""
    return any(getattr(getattr(model, 'data_preprocessor', None), name, False) is True
               for name in ('to_rgb', '_channel_conversion'))


def _to_images(frames: Tensor, bgr: bool = False) -> list[np.ndarray]:
    """Frames (T, C, H, W) as T images (H, W, 3), uint8, RGB.

    The horizontal part of optical flow becomes red, its vertical part green. Floats,
    which a pipeline has normalised, are stretched to the whole range.
    """
    values = frames.detach().cpu()
    if values.dtype != torch.uint8:
        low, high = values.min(), values.max()
        values = (255 * (values - low) / (high - low).clamp(min=1e-12)).round()
    images = values.permute(0, 2, 3, 1).numpy().astype(np.uint8)
    if images.shape[-1] == 2:
        grey = np.full_like(images[..., :1], 128)
        return list(np.concatenate([images, grey], axis=-1))
    images = np.broadcast_to(images, (*images.shape[:3], 3))
    return list(images[..., ::-1] if bgr else images)

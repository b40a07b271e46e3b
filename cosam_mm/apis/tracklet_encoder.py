"""One feature a tracklet, by a trained re-ID model.

A feature depends on the weights, and on settings of the model and the pipeline that
leave no trace in the weights (a stride, the size of images, which clips are taken).
The encoder states both, so that features can be refused that do not compare.
"""
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import cached_property
from typing import Any, Optional, Union

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from torch.utils.data import DataLoader, Dataset

from cosam_mm.datasets.image_files import UnreadableImage, read_image
from cosam_mm.evaluation.functional.distance import pairwise_distances
from cosam_mm.layers.mask_recording import ModuleMasks, record_masks, split_masks
from cosam_mm.models.reid import VideoReID
from cosam_mm.structures.tracklet import UNKNOWN_CAMERA
from cosam_mm.utils.config import type_name
from cosam_mm.utils.worker_batches import SendableCollate

from .inference_optimization import make_fast
from .model_loading import (
    PathLike,
    TrainedModel,
    dataset_of_tests,
    load_model,
    read_trained_model,
    scope_of,
    weights_sha256,
)
from .video_input import (
    check_channel_order,
    describe,
    image_files,
    is_path,
    read_frames,
)

__all__ = ['DISTANCES', 'TrackletEncoder', 'configured_distance']

DISTANCES = ('euclidean', 'cosine')

Masks = dict[str, ModuleMasks]
_Encoded = tuple[np.ndarray, Optional[Masks]]  # feature, masks


def _test_pipeline(config: Config) -> list[dict]:
    """Steps that make a gallery tracklet in tests, for data that may be broken."""
    dataset = dataset_of_tests(config)
    pipeline = dataset.get('gallery', dataset).get('pipeline') or ()
    steps = [dict(step) for step in pipeline]
    if not steps or type_name(steps[-1]) != 'PackTrackletInputs':
        raise ValueError(
            'The test pipeline of this config does not end in PackTrackletInputs, so '
            'it makes no tracklets: take the checkpoint of a re-identification model '
            '(configs/reid).')
    for step in steps:
        if type_name(step) == 'LoadTrackletFrames':
            step['on_unreadable'] = 'skip'
            step.pop('blank_size', None)
    return steps


def _model_settings(config: Config) -> dict:
    """Settings of the model that features depend on."""
    settings = json.loads(
        json.dumps(config.model.to_dict(), default=str),
        object_hook=lambda part: {
            key: value for key, value in part.items()
            if key not in ('init_cfg', 'pretrained', 'with_cp')})
    return {key: value for key, value in settings.items()
            if key not in ('head', 'losses', 'max_clips_per_forward')}


def configured_distance(config: Config) -> str:
    """What tests of the config compare features by."""
    evaluators = config.get('test_evaluator') or ()
    if isinstance(evaluators, Mapping):
        evaluators = [evaluators]
    return next((one['distance'] for one in evaluators
                 if one.get('distance') in DISTANCES), 'euclidean')


def _take_frames(results: dict) -> dict:
    """Pipeline step: chosen frames of a tracklet in memory."""
    frames = results.pop('frames')
    results['imgs'] = [frames[index] for index in results['frame_inds'].ravel()]
    return results


class _Tracklets(Dataset):
    """Tracklets through a pipeline. Images are listed when they are read: the names
    of all images of a million tracklets would fill the memory."""

    def __init__(self, tracklets: Sequence[Any], steps: Sequence[dict],
                 channel_order: str) -> None:
        self.tracklets = tracklets
        self.channel_order = channel_order
        self.white_level = _white_level(steps)
        self.from_files = Compose(steps)
        self.from_memory = Compose([
            _take_frames if type_name(step) == 'LoadTrackletFrames' else step
            for step in steps])

    def __len__(self) -> int:
        return len(self.tracklets)

    def __getitem__(self, number: int) -> Optional[dict]:
        tracklet = self.tracklets[number]
        about = dict(tracklet_id=describe(tracklet), pid=-1, label=-1,
                     camid=UNKNOWN_CAMERA, subset='gallery', dataset='')
        if not _is_in_files(tracklet):
            frames = read_frames(tracklet, 3, self.channel_order, self.white_level)
            return self.from_memory(
                dict(about, frames=frames, img_paths=[''] * len(frames)))
        paths = _image_paths(tracklet)
        return self.from_files(dict(about, img_paths=paths)) if paths else None


def _is_in_files(tracklet: Any) -> bool:
    """Whether it is a folder or paths: of these, unreadable ones are replaced."""
    return is_path(tracklet) or (isinstance(tracklet, (list, tuple)) and bool(tracklet)
                                 and all(map(is_path, tracklet)))


def _image_paths(tracklet: Union[PathLike, Sequence[PathLike]]) -> list[str]:
    """Paths of a tracklet's images; none of a folder that is gone."""
    if not is_path(tracklet):
        return [os.fspath(path) for path in tracklet]
    try:
        return image_files(os.fspath(tracklet))
    except (OSError, ValueError):
        return []


def _first_problem(tracklet: Union[PathLike, Sequence[PathLike]]) -> str:
    """Why the first image of a tracklet cannot be read, for messages."""
    for path in _image_paths(tracklet)[:1]:
        try:
            read_image(path)
        except UnreadableImage as error:
            return f': {path}: {error}'
    return ''


def _white_level(steps: Sequence[dict]) -> Optional[float]:
    """What the pipeline takes for white in images of more than 8 bits."""
    return next((step.get('white_level') for step in steps
                 if type_name(step) == 'LoadTrackletFrames'), None)


def _check_tracklet(tracklet: Any, white_level: Optional[float]) -> None:
    """Raise what is wrong with a tracklet before any is computed."""
    if not is_path(tracklet):
        if not _is_in_files(tracklet):
            read_frames(tracklet, white_level=white_level)
        return
    if os.path.isfile(tracklet):
        raise ValueError(
            f'{os.fspath(tracklet)} is a file: a tracklet is a folder of images, a '
            'list of image paths, PIL images or arrays (H, W, 3), or an array '
            '(T, H, W, 3).')
    image_files(os.fspath(tracklet))


def _collate(samples: list[Optional[dict]]) -> tuple[list[bool], Optional[dict]]:
    """Which samples are readable, and a batch of these."""
    readable = [sample for sample in samples if sample is not None]
    batch = pseudo_collate(readable) if readable else None
    return [sample is not None for sample in samples], batch


def _start_worker(number: int) -> None:
    cv2.setNumThreads(0)


class TrackletEncoder:
    """Makes features of tracklets, by the test pipeline of the model's config.

    All frames count, in clips without overlap; the frames of a short last clip are
    looped, and the feature is the mean over the clips. It equals the feature that
    ``tools/test.py`` evaluates.

    A tracklet is a folder of images (in natural order), a list of image paths, of PIL
    images or of arrays (H, W, 3), or an array (T, H, W, 3). Arrays are uint8. Frames
    of different sizes are resized like all others. The nearest readable image stands
    in for a file that cannot be read; the log says so.

    The classifier is left out, so that its number of identities need not fit.

    Args:
        checkpoint: File written in training, or by the converter.
        config: Config, or its file. Default: the one in the checkpoint, which is read
            as data.
        device: As 'cpu', 'cuda' or 'cuda:1'. Default: the GPU, if there is one.
        fast: Whether to compute faster and less exactly, see
            :func:`~cosam_mm.apis.inference_optimization.make_fast`.
        channel_order: Of arrays: 'rgb', or 'bgr' as OpenCV gives.

    Attributes:
        model: The model, in evaluation mode.
        recipe: Settings that features depend on, as JSON.
        default_distance: 'euclidean' or 'cosine': what tests of the model compare by.

    Raises:
        FileNotFoundError: A file does not exist.
        ValueError: As :func:`~cosam_mm.apis.model_loading.load_model`, or the config is
            not of a :class:`VideoReID` and its tracklets.

    Example::

        encoder = TrackletEncoder('iter_60000.pth')
        a, b = encoder.encode_batch(['tracklets/7/c1', 'tracklets/7/c2'])
        print(encoder.distance(a, b))
    """

    def __init__(self, checkpoint: Union[PathLike, TrainedModel],
                 config: Union[PathLike, Config, None] = None,
                 device: Union[str, torch.device, None] = None,
                 fast: bool = False, channel_order: str = 'rgb') -> None:
        self.channel_order = check_channel_order(channel_order)
        trained = read_trained_model(checkpoint, config)
        self.model = load_model(trained, device=device, wanted=VideoReID)
        self.config = config = trained.config
        self._steps = _test_pipeline(config)
        self.checkpoint = trained.path
        self.recipe = json.dumps(
            dict(model=_model_settings(config), pipeline=self._steps),
            sort_keys=True, default=str)
        self.default_distance = configured_distance(config)
        self._is_to_be_fast = fast

    @cached_property
    def weights(self) -> str:
        """Fingerprint of the model's weights."""
        return weights_sha256(self.model.state_dict())

    def encode(self, tracklet: Any, return_masks: bool = False
               ) -> Union[np.ndarray, tuple[np.ndarray, Masks]]:
        """The feature of one tracklet.

        Args:
            tracklet: See above.
            return_masks: Whether to return the masks of every COSAM as well.

        Returns:
            (D,), float32. With ``return_masks`` also the masks by the module's name:
            ``spatial`` (num_clips, T, H, W) and ``channel`` (num_clips, C), on the CPU.

        Raises:
            FileNotFoundError: There is no such folder.
            ValueError: It is no tracklet, no image can be read, or the feature is not
                finite.
        """
        ((feature, masks),) = self._encode_all([tracklet], return_masks=return_masks)
        return (feature, masks) if return_masks else feature

    def encode_batch(self, tracklets: Iterable[Any], batch_size: int = 4,
                     num_workers: int = 0, return_masks: bool = False
                     ) -> Union[np.ndarray, tuple[np.ndarray, list[Masks]]]:
        """The features of several tracklets, of any lengths.

        Args:
            tracklets: Of any of the kinds above, also mixed.
            batch_size: Tracklets at once, each with all its clips.
            num_workers: Processes that read images; 0 reads them in this one.
            return_masks: As for :meth:`encode`.

        Returns:
            (N, D), float32. With ``return_masks`` also a list of N dicts of masks.
        """
        if is_path(tracklets):
            raise ValueError(f'encode_batch takes a list of tracklets, got '
                             f'{tracklets!r}: encode takes one.')
        tracklets = list(tracklets)
        if not tracklets:
            raise ValueError('The list of tracklets is empty.')
        features, masks = zip(*self._encode_all(tracklets, batch_size, num_workers,
                                                return_masks))
        return (np.stack(features), list(masks)) if return_masks else np.stack(features)

    def encode_each(self, tracklets: Sequence[Any], batch_size: int = 4,
                    num_workers: int = 0) -> Iterator[Optional[np.ndarray]]:
        """Go over tracklets, more than fit into memory, some of them broken.

        Arguments are those of :meth:`encode_batch`.

        Returns:
            Iterator over features (D,), float32, in the order of the tracklets; None
            for a folder or list of paths without a readable image. The log says which
            images were not.
        """
        for one in self._iterate(tracklets, batch_size, num_workers):
            yield None if one is None else one[0]

    def distance(self, a: np.ndarray, b: np.ndarray, metric: Optional[str] = None
                 ) -> Union[float, np.ndarray]:
        """Distance of features, small for the same person.

        Args:
            a: A feature (D,), or several (N, D).
            b: Likewise, (D,) or (M, D).
            metric: 'euclidean' or 'cosine'. Default: what the model was tested by.

        Returns:
            One number, (N,), (M,) or (N, M).
        """
        metric = metric or self.default_distance
        if metric not in DISTANCES:
            raise ValueError(f'metric must be one of {DISTANCES}, got {metric!r}.')
        a, b = np.asarray(a), np.asarray(b)
        found = pairwise_distances(np.atleast_2d(a), np.atleast_2d(b), metric)
        found = found.reshape(a.shape[:-1] + b.shape[:-1])
        return float(found) if found.ndim == 0 else found

    def _encode_all(self, tracklets: Sequence[Any], batch_size: int = 1,
                    num_workers: int = 0, return_masks: bool = False) -> list[_Encoded]:
        for tracklet in tracklets:
            _check_tracklet(tracklet, _white_level(self._steps))
        encoded = list(self._iterate(tracklets, batch_size, num_workers, return_masks))
        for one, tracklet in zip(encoded, tracklets):
            if one is None:
                raise ValueError(f'No image of {describe(tracklet)} can be read'
                                 f'{_first_problem(tracklet)}.')
        return encoded

    def _iterate(self, tracklets: Sequence[Any], batch_size: int, num_workers: int,
                 return_masks: bool = False) -> Iterator[Optional[_Encoded]]:
        with scope_of(self.config):
            dataset = _Tracklets(tracklets, self._steps, self.channel_order)
        loader = DataLoader(dataset, batch_size, collate_fn=SendableCollate(_collate),
                            num_workers=num_workers, worker_init_fn=_start_worker)
        remaining = iter(tracklets)
        for is_readable, batch in loader:
            encoded = iter(() if batch is None else self._run(batch, return_masks))
            for readable, tracklet in zip(is_readable, remaining):
                one = next(encoded) if readable else None
                if readable and not np.isfinite(one[0]).all():
                    raise ValueError(
                        f'The feature of {describe(tracklet)} holds NaN or infinity: '
                        f'the weights of {self.checkpoint} are of no use.')
                yield one

    def _run(self, batch: dict, return_masks: bool) -> Iterator[_Encoded]:
        counts = [len(clips) for clips in batch['inputs']]
        if self._is_to_be_fast:
            _ = self.weights  # fingerprint of the weights as trained
            make_fast(self.model, batch)
            self._is_to_be_fast = False
        recording = record_masks(self.model) if return_masks else nullcontext()
        with torch.no_grad(), recording as record:
            samples = self.model.test_step(batch)
        features = torch.stack([sample.feature for sample in samples])
        masks = split_masks(record.masks(), counts) if return_masks \
            else [None] * len(counts)
        return zip(features.float().cpu().numpy(), masks)


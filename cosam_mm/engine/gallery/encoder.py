"""From a checkpoint and tracklets to one feature a tracklet.

A feature depends on the weights, and on settings of the model and the pipeline that
leave no trace in the weights (a stride, the size of images, which clips are taken).
The encoder states both, so that features can be refused that do not compare.
"""
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Optional

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import MODELS, DefaultScope
from torch import nn
from torch.utils.data import DataLoader, Dataset

from ...datasets.reid.tracklet import UNKNOWN_CAMERA, list_images
from ...models.reid import VideoReID
from ..trained_model import load_weights, read_trained_model, weights_sha256
from .folders import TrackletFiles

__all__ = ['DISTANCES', 'TrackletEncoder', 'load_encoder']

DISTANCES = ('euclidean', 'cosine')
_UNUSED = ('head.', 'losses.')  # people met later have no class


# -- what a config says ------------------------------------------------------


def _test_pipeline(config: Config) -> list[dict]:
    """Steps that make a gallery tracklet in tests, for data that may be broken."""
    dataset = (config.get('test_dataloader') or {}).get('dataset') or {}
    pipeline = dataset.get('gallery', dataset).get('pipeline') or ()
    steps = [dict(step) for step in pipeline]
    if not steps or steps[-1].get('type') != 'PackTrackletInputs':
        raise ValueError(
            'The test pipeline of this config does not end in PackTrackletInputs, so '
            'it makes no tracklets: take the checkpoint of a re-identification model '
            '(configs/reid).')
    for step in steps:
        if step['type'] == 'LoadTrackletFrames':
            step['on_unreadable'] = 'skip'
            step.pop('blank_size', None)
    return steps


def _model_settings(config: Config) -> dict:
    """Settings of the model that features depend on."""
    def simplify(value):
        if isinstance(value, Mapping):
            return {key: simplify(item) for key, item in value.items()
                    if key not in ('init_cfg', 'with_cp')}
        return [simplify(item) for item in value] if isinstance(
            value, (list, tuple)) else value

    settings = simplify(config.model)
    for key in ('head', 'losses', 'max_clips_per_forward'):
        settings.pop(key, None)
    return settings


def _check_model(config: Config) -> None:
    kind = (config.get('model') or {}).get('type')
    known = MODELS.get(kind) if isinstance(kind, str) else kind
    if known is None:
        raise ValueError(
            f'No model of type {kind!r} is registered. If it is yours, give the config '
            'file, whose custom_imports are imported.')
    if not (isinstance(known, type) and issubclass(known, VideoReID)):
        raise ValueError(f'The model of this config is a {known.__name__}, which makes '
                         'no features of tracklets: a VideoReID is needed.')


def _configured_distance(config: Config) -> str:
    """What tests of the config compare features by."""
    evaluators = config.get('test_evaluator') or ()
    if isinstance(evaluators, Mapping):
        evaluators = [evaluators]
    found = [one['distance'] for one in evaluators if one.get('distance') in DISTANCES]
    return found[0] if found else 'euclidean'


# -- tracklets through a model -----------------------------------------------


class _Tracklets(Dataset):
    """Tracklets through a pipeline. Images are listed when they are read: the names
    of all images of a million tracklets would fill the memory."""

    def __init__(self, tracklets: Sequence[TrackletFiles], pipeline: Compose) -> None:
        self.tracklets = tracklets
        self.pipeline = pipeline

    def __len__(self) -> int:
        return len(self.tracklets)

    def __getitem__(self, number: int) -> Optional[dict]:
        tracklet = self.tracklets[number]
        try:
            images = list_images(tracklet.folder)
        except OSError:
            images = []
        if not images:  # they are gone since the folder was searched
            return None
        return self.pipeline(dict(
            img_paths=[os.path.join(tracklet.folder, name) for name in images],
            tracklet_id=tracklet.tracklet_id, pid=-1, label=-1, camid=UNKNOWN_CAMERA,
            subset='gallery', dataset=''))


def _collate(samples: list[Optional[dict]]) -> tuple[list[bool], Optional[dict]]:
    """Which of the samples there are, and a batch of these."""
    readable = [sample for sample in samples if sample is not None]
    batch = pseudo_collate(readable) if readable else None
    return [sample is not None for sample in samples], batch


def _start_worker(number: int) -> None:
    cv2.setNumThreads(0)


class TrackletEncoder:
    """Makes features of tracklets.

    Args:
        model: A trained model, in evaluation mode.
        pipeline: Steps of the test pipeline.
        recipe: Settings that features depend on, as JSON.
        checkpoint: File that the weights come from.
        distance: 'euclidean' or 'cosine': what the features were tested by.
    """

    def __init__(self, model: VideoReID, pipeline: Sequence[dict], recipe: str,
                 checkpoint: str, distance: str) -> None:
        self.model = model
        self.pipeline = Compose(pipeline)
        self.recipe = recipe
        self.checkpoint = checkpoint
        self.distance = distance
        self.weights = weights_sha256(model)

    def encode(self, tracklets: Sequence[TrackletFiles], batch_size: int = 4,
               num_workers: int = 0) -> Iterator[Optional[np.ndarray]]:
        """Go over tracklets.

        Args:
            tracklets: What to make features of.
            batch_size: Tracklets at once, each with all its clips.
            num_workers: Processes that read images; 0 reads them in this one.

        Returns:
            Iterator over features (D,), float32, in the order of the tracklets; None
            for one without a readable image. The log says which images were not.

        Raises:
            ValueError: A feature is not finite.
        """
        loader = DataLoader(
            _Tracklets(tracklets, self.pipeline), batch_size, collate_fn=_collate,
            num_workers=num_workers, worker_init_fn=_start_worker)
        remaining = iter(tracklets)
        for is_readable, batch in loader:
            features = iter(() if batch is None else self._features(batch))
            for readable, tracklet in zip(is_readable, remaining):
                yield self._checked(next(features), tracklet) if readable else None

    def _features(self, batch: dict) -> np.ndarray:
        with torch.no_grad():
            samples = self.model.test_step(batch)
        return torch.stack([sample.feature for sample in samples]).float().cpu().numpy()

    def _checked(self, feature: np.ndarray, tracklet: TrackletFiles) -> np.ndarray:
        if not np.isfinite(feature).all():
            raise ValueError(
                f'The feature of {tracklet.tracklet_id} holds NaN or infinity: the '
                f'weights of {self.checkpoint} are of no use.')
        return feature


# -- from a checkpoint -------------------------------------------------------


def _build_model(config: Config) -> nn.Module:
    try:
        return MODELS.build(dict(config.model, head=None))
    except KeyError as error:
        if 'registry' not in str(error):
            raise
        raise ValueError(
            f'The model cannot be built: {error.args[0]} If a part of it is yours, '
            'give the config file, whose custom_imports are imported.') from error


def _find_device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (AssertionError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f'There is no device {name!r} here: {reason}') from None
    return device


def load_encoder(checkpoint: str, config: Optional[Config] = None,
                 device: str = 'cpu') -> TrackletEncoder:
    """Build a re-ID model and fill it from a checkpoint.

    The classifier is left out, so that its number of identities need not fit.

    Args:
        checkpoint: File written in training, or by the converter.
        config: Default: the one in the checkpoint, which is read as data.
        device: Where the model goes.

    Raises:
        FileNotFoundError: There is no such checkpoint.
        ValueError: The file is no checkpoint, it holds no config and none is given,
            the config is not of a :class:`VideoReID` and its tracklets, the
            parameters do not fit, or there is no such device.
    """
    trained = read_trained_model(checkpoint, config)
    place, config = _find_device(device), trained.config
    with DefaultScope.overwrite_default_scope(config.get('default_scope')):
        _check_model(config)
        pipeline = _test_pipeline(config)
        model = _build_model(config)
        load_weights(model, trained, _UNUSED)
        recipe = json.dumps(dict(model=_model_settings(config), pipeline=pipeline),
                            sort_keys=True, default=str)
        return TrackletEncoder(model.to(place).eval(), pipeline, recipe,
                               trained.path, _configured_distance(config))

"""Recognise actions: a trained recogniser of MMAction2 and videos to class names."""
import dataclasses
import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import islice
from typing import Any, NamedTuple, Optional, Union

import numpy as np
import torch
from mmaction.models.recognizers.base import BaseRecognizer
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.logging import print_log
from torch import Tensor, nn

from cosam_mm.datasets.frame_stream import FilmFrames, LiveFrames, TimedFrame
from cosam_mm.datasets.preparation.annotation_files import read_class_names
from cosam_mm.datasets.unreadable_samples import TIME_LIMIT, check_time_limit
from cosam_mm.datasets.video_reader import UnreadableVideo
from cosam_mm.evaluation.functional.score_fusion import class_probabilities
from cosam_mm.layers.mask_recording import ModuleMasks, record_masks, split_masks

from .action_pipeline import action_pipeline, modality
from .action_windows import (
    WindowPrediction,
    WindowReader,
    cut_windows,
    smooth_scores,
)
from .inference_optimization import make_fast
from .model_loading import (
    PathLike,
    TrainedModel,
    load_model,
    read_trained_model,
    scope_of,
)
from .video_input import check_channel_order, describe, is_path, open_video

__all__ = ['ActionPrediction', 'ActionRecognizer', 'ClassScore', 'load_recognizer']

_SCOPE = 'mmaction'  # of configs that name none
_Sample = tuple[dict, int, int]  # inputs of the model, frames of the video, seen ones


class ClassScore(NamedTuple):
    """One class of a prediction."""
    label: int
    name: str
    probability: float


@dataclasses.dataclass(frozen=True)
class ActionPrediction:
    """What a recogniser says of one video."""
    classes: list[ClassScore]  # the most probable ones, by falling probability
    score: np.ndarray  # (K,) float32, of all classes: as tools/test.py --dump writes it
    # (D,) float32, the input of the classifier, mean over the views; if asked for
    feature: Optional[np.ndarray] = None
    # By the name of the COSAM, for the V views of the video: ``spatial`` (V, T, H, W)
    # and ``channel`` (V, C), on the CPU; if asked for
    masks: Optional[dict[str, ModuleMasks]] = None
    num_frames: int = 0  # of the video
    num_frames_seen: int = 0  # of these, how many the model looked at


class ActionRecognizer:
    """Names the action in videos, by the test pipeline of the model's config.

    The scores of a video are those that ``tools/test.py`` computes for it.

    A video is a path of a video file or of a folder of images, a list of image paths,
    PIL images or arrays (H, W, 3), or an array (T, H, W, 3). Arrays are uint8. A
    model of optical flow takes arrays (T, H, W, 2): horizontal and vertical flow as
    uint8, 127.5 meaning none, as ``tools/prepare_data.py`` writes them.

    Args:
        checkpoint: File written in training, or by the converter.
        config: Config, or its file. Default: the one in the checkpoint, which is read
            as data.
        device: As 'cpu', 'cuda' or 'cuda:1'. Default: the GPU, if there is one.
        classes: Names of the classes, or a file with one a line. Default: those in
            the checkpoint; where it has none a class is called ``class <label>``.
        fast: Whether to compute faster and less exactly, see
            :func:`~cosam_mm.apis.inference_optimization.make_fast`.
        channel_order: Of arrays (H, W, 3): 'rgb', or 'bgr' as OpenCV gives.
        time_limit: Seconds without data after which reading a video is given up, for
            disks that are slow; a long video takes the time it needs.

    Raises:
        FileNotFoundError: A file does not exist.
        ValueError: As :func:`~cosam_mm.apis.model_loading.load_model`, or there are
            more or fewer names than classes.

    Example::

        recognizer = ActionRecognizer('epoch_30.pth')
        for label, name, probability in recognizer.predict('walk.mp4').classes:
            print(f'{probability:7.2%}  {name}')
    """

    def __init__(self, checkpoint: Union[PathLike, TrainedModel],
                 config: Union[PathLike, Config, None] = None,
                 device: Union[str, torch.device, None] = None,
                 classes: Union[PathLike, Sequence[str], None] = None,
                 fast: bool = False, channel_order: str = 'rgb',
                 time_limit: float = TIME_LIMIT) -> None:
        check_time_limit(time_limit)
        self.channel_order = check_channel_order(channel_order)
        trained = read_trained_model(checkpoint, config)
        self.model = load_recognizer(trained, device=device)
        self.checkpoint = trained.path
        self.config = self.model.cfg
        self.modality, self._channels = modality(self.config)
        self._pipelines: dict[str, Compose] = {}
        self._pipeline('test')
        self.class_names = _class_names(
            self.model.class_names if classes is None else classes,
            self.model.cls_head.num_classes)
        self._is_to_be_fast = fast
        self._time_limit = time_limit

    def predict(self, video: Any, topk: int = 5, views: str = 'test',
                return_feature: bool = False, return_masks: bool = False
                ) -> ActionPrediction:
        """Classify one video.

        Args:
            video: See above.
            topk: Classes to return, at most as many as there are.
            views: 'test' for the views of the test pipeline, as ten crops; 'center'
                for one centre crop, which is that much faster.
            return_feature: Whether to return the feature.
            return_masks: Whether to return the masks of every COSAM.

        Raises:
            FileNotFoundError: There is no such file or folder.
            ValueError: It is no video, cannot be decoded, or an argument is not one
                of those above.
        """
        (prediction,) = self.predict_batch([video], topk, views, 1, return_feature,
                                           return_masks)
        return prediction

    def predict_batch(self, videos: Iterable[Any], topk: int = 5, views: str = 'test',
                      batch_size: int = 1, return_feature: bool = False,
                      return_masks: bool = False, on_error: str = 'raise'
                      ) -> list[Optional[ActionPrediction]]:
        """Classify several videos.

        Args:
            videos: Of any of the kinds above, also mixed; also a generator, of which
                ``batch_size`` videos are held at a time.
            batch_size: Videos that go through the model at once, each with all its
                views.
            topk, views, return_feature, return_masks: As for :meth:`predict`.
            on_error: 'raise', or 'skip' for a warning that names what cannot be read.

        Returns:
            Predictions in the order of the videos; None for a skipped one.
        """
        if on_error not in ('raise', 'skip'):
            raise ValueError(f'on_error must be raise or skip, got {on_error!r}.')
        for name, value in (('topk', topk), ('batch_size', batch_size)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f'{name} must be at least 1, got {value!r}.')
        if is_path(videos):
            raise ValueError(f'predict_batch takes a list of videos, got {videos!r}: '
                             'predict takes one.')
        if (self.model.test_cfg or {}).get('max_testing_views'):
            batch_size = 1  # MMAction2 takes the views of one video in portions
        pipeline, waiting = self._pipeline(views), iter(videos)
        predictions = []
        while batch := list(islice(waiting, batch_size)):
            samples = [self._sample(video, pipeline, on_error) for video in batch]
            read = [sample for sample in samples if sample is not None]
            found = iter(self._run(read, topk, return_feature, return_masks)
                         if read else ())
            predictions += [sample and next(found) for sample in samples]
        return predictions

    def predict_windows(self, video: Union[PathLike, FilmFrames, LiveFrames],
                        window: float, stride: Optional[float] = None, smooth: int = 1,
                        topk: int = 5, views: str = 'center'
                        ) -> Iterator[WindowPrediction]:
        """Classify a long video part by part, in one pass.

        The prediction for a window is that of :meth:`predict` for a video of these
        frames. The last window ends with the video and is as long as the others. At
        most the frames of one window are held, decoded.

        Args:
            video: Video file, or a camera or stream, of which windows are left out
                where the model is slower than the frames come.
            window: Seconds of a window.
            stride: Seconds from one start to the next. Default: ``window``.
            smooth: Odd number of windows over which scores are averaged, as those of
                several views are: as many before as after. Default: no averaging.
            topk, views: As for :meth:`predict`.

        Returns:
            Iterator of (start, end, prediction), times in seconds by the file's time
            stamps. A window of which the file has no frame is left out.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: It is no video file, cannot be decoded, or an argument is wrong.
        """
        stride = window if stride is None else stride
        for name, value in (('window', window), ('stride', stride)):
            if not 0 < value < float('inf'):
                raise ValueError(f'{name} must be seconds above 0, got {value!r}.')
        if smooth < 1 or smooth % 2 == 0:
            raise ValueError(f'smooth must be an odd number of windows, got {smooth}.')
        frames = FilmFrames(video, self._time_limit) if is_path(video) else video
        if self.modality == 'Flow' or not isinstance(frames, (FilmFrames, LiveFrames)):
            raise ValueError(
                'Windows are cut from video files, for models of RGB: give the path of '
                'one, or pass parts of your frames to predict.')
        pipeline = self._pipeline(views)

        def predicted(chosen: list[TimedFrame]) -> ActionPrediction:
            reader = WindowReader(chosen, frames.fps)
            return next(self._run([self._prepare(reader, frames.path, pipeline)], topk))

        windows = (WindowPrediction(start, end, predicted(chosen))
                   for start, end, chosen in cut_windows(frames, window, stride))
        return windows if smooth == 1 else smooth_scores(
            windows, smooth, lambda score: self._classes(score, topk))

    def _pipeline(self, views: str) -> Compose:
        if views not in self._pipelines:
            with scope_of(self.config, _SCOPE):
                self._pipelines[views] = Compose(action_pipeline(self.config, views))
        return self._pipelines[views]

    def _sample(self, video: Any, pipeline: Compose, on_error: str
                ) -> Optional[_Sample]:
        """A video through the pipeline; None for one that is skipped."""
        try:
            if self.modality == 'Flow' and is_path(video):
                raise ValueError(
                    'This model reads optical flow from folders of images, and a video '
                    'file does not do. Extract frames with tools/prepare_data.py and '
                    'use tools/test.py, or give flow as an array (T, H, W, 2).')
            reader = open_video(video, self._channels, self.channel_order,
                                self._time_limit)
            return self._prepare(reader, video, pipeline)
        except (FileNotFoundError, ValueError) as error:
            if on_error == 'raise':
                raise
            print_log(f'{describe(video)} is skipped: {error}', 'current',
                      logging.WARNING)
            return None

    def _prepare(self, reader: Any, video: Any, pipeline: Compose) -> _Sample:
        seen = []
        try:
            inputs = pipeline(dict(
                video_reader=reader, total_frames=len(reader), frames_seen=seen,
                avg_fps=reader.get_avg_fps(), start_index=0, modality=self.modality,
                label=-1, filename=describe(video)))
        except UnreadableVideo as error:
            raise ValueError(f'{describe(video)} cannot be decoded: {error}') from None
        return inputs, len(reader), len(set(seen))

    def _run(self, samples: list[_Sample], topk: int, return_feature: bool = False,
             return_masks: bool = False) -> Iterator[ActionPrediction]:
        shapes = {tuple(inputs['inputs'].shape) for inputs, *_ in samples}
        if len(shapes) > 1:
            raise ValueError(
                f'The videos of a batch become inputs of different shapes {shapes}, '
                'because the test pipeline does not crop to one size: set '
                'batch_size=1.')
        count = len(samples)
        batch = pseudo_collate([inputs for inputs, *_ in samples])
        if self._is_to_be_fast:
            make_fast(self.model, batch)
            self._is_to_be_fast = False
        looking = _classifier_inputs(self.model) if return_feature else nullcontext()
        recording = record_masks(self.model) if return_masks else nullcontext()
        with torch.no_grad(), looking as seen, recording as record:
            results = self.model.test_step(batch)
        features = [None] * count
        if return_feature:
            # (count * V, D), of one pass or several, to (count, D)
            rows = torch.cat([part.flatten(1) for part in seen]).float().cpu()
            features = rows.reshape(count, -1, rows.shape[-1]).mean(1).numpy()
        masks = split_masks(record.masks(), [1] * count) \
            if return_masks else [None] * count
        return map(self._prediction, results, features, masks, samples, [topk] * count)

    def _prediction(self, result, feature, masks, sample: _Sample, topk: int
                    ) -> ActionPrediction:
        score = result.pred_score.float().cpu()
        # (K,), or (V, K) of a head that does not average over the views
        score = score.reshape(-1, score.shape[-1]).mean(0).numpy()
        if not np.isfinite(score).all():
            raise ValueError(f'The scores hold NaN or infinity: the weights of '
                             f'{self.checkpoint} are of no use.')
        return ActionPrediction(self._classes(score, topk), score, feature, masks,
                                *sample[1:])

    def _classes(self, score: np.ndarray, topk: int) -> list[ClassScore]:
        """The ``topk`` classes of a score (K,), by falling probability."""
        probability = score if self.model.cls_head.average_clips == 'prob' \
            else class_probabilities(score)
        best = np.argsort(-probability, kind='stable')[:topk].tolist()
        names = self.class_names or [f'class {k}' for k in range(len(score))]
        return [ClassScore(k, names[k], float(probability[k])) for k in best]


def load_recognizer(checkpoint: Union[PathLike, TrainedModel],
                    config: Union[PathLike, Config, None] = None,
                    device: Union[str, torch.device, None] = 'cpu') -> nn.Module:
    """:func:`~.model_loading.load_model` of what must be a recogniser of MMAction2."""
    model = load_model(checkpoint, config, device, BaseRecognizer, _SCOPE)
    if getattr(model.cls_head, 'multi_class', False):
        raise ValueError('cls_head.multi_class: several labels of a clip are not '
                         'supported.')
    return model


def _class_names(names: Union[PathLike, Sequence[str], None],
                 num_classes: int) -> Optional[tuple[str, ...]]:
    if is_path(names):
        return read_class_names(names, num_classes)
    if names is not None and len(names) != num_classes:
        raise ValueError(f'{len(names)} names are given for {num_classes} classes.')
    return None if names is None else tuple(names)


@contextmanager
def _classifier_inputs(model: nn.Module) -> Iterator[list[Tensor]]:
    """What the last linear layer sees while the model runs."""
    classifier = getattr(model.cls_head, 'fc_cls', None)
    if not isinstance(classifier, nn.Module):
        raise ValueError(f'{type(model.cls_head).__name__} has no layer fc_cls, whose '
                         'input would be the feature.')
    seen: list[Tensor] = []
    handle = classifier.register_forward_pre_hook(
        lambda _, args: seen.append(args[0].detach()))
    try:
        yield seen
    finally:
        handle.remove()

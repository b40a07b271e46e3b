"""A trained model as one function of a batch of frames, and the contract it keeps.

The contract is a dict of plain values that says what an exported file takes and gives:
axes, sizes, normalisation, class names, test pipeline. ``export.py`` writes the files.
"""
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional, Union

import torch
from mmengine.config import Config
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from cosam_mm import __version__
from cosam_mm.models.reid import VideoReID
from cosam_mm.utils.config import input_shape

from .model_loading import (
    PathLike,
    TrainedModel,
    dataset_of_tests,
    model_class,
    read_trained_model,
    weights_sha256,
)

__all__ = ['DeployableModel', 'load_deployable']

_PIXELS = 'NCTHW'  # axes of uint8 clips in this package
_AXES = dict(N='clips', C='channels', T='frames', H='height', W='width')
_VIEWS = {  # by average_clips of the head
    'score': 'Logits of one view. Several views (ten crops, clips) are several rows: '
             'average the logits, then softmax gives probabilities.',
    'prob': 'Logits of one view. Several views (ten crops, clips) are several rows: '
            'softmax each, then average the probabilities.',
    None: 'Logits of one view: softmax gives probabilities.',
}


class DeployableModel(nn.Module):
    """Frames to output, with the normalisation inside or left to the caller.

    What a config spreads over preprocessor, model and test protocol is joined here to a
    module that can be traced; nothing but the number of clips stays open.

    Args:
        model: In evaluation mode, with a data preprocessor that has ``mean`` and
            ``std`` in units of a pixel in [0, 255]. Its parameters are frozen.
        clip_shape: (C, T, H, W) of one clip.
        normalize: Whether :meth:`forward` takes uint8 pixels and normalises them, or
            floats that are normalised already.

    Raises:
        ValueError: The preprocessor has no mean and std, or not one for each channel.
    """
    layout = _PIXELS  # axes of the input

    def __init__(self, model: nn.Module, clip_shape: Sequence[int],
                 normalize: bool = True) -> None:
        super().__init__()
        mean, std = _statistics(model, clip_shape[0])
        # Autograd, and checkpointing that depends on it, cannot be in a file.
        self.model = model.requires_grad_(False)
        self.clip_shape = tuple(clip_shape)
        self.normalize = normalize
        self.register_buffer('mean', mean, persistent=False)
        self.register_buffer('std', std, persistent=False)
        self.contract: dict = {}  # what goes in and comes out

    def _clips(self, frames: Tensor) -> Tensor:
        """(N, C, T, H, W), as the backbone takes them, of the input."""
        clips = _permute(frames, self.layout, _PIXELS)
        return (clips.float() - self.mean) / self.std if self.normalize else clips

    def input_contract(self, channel_order: str = 'RGB', frame_interval: int = 1
                       ) -> dict:
        """Describe the one input of the file.

        Args:
            channel_order: As 'RGB'.
            frame_interval: Distance of a clip's frames in the video.
        """
        sizes = dict(zip('CTHW', map(int, self.clip_shape)), N='N')
        # The shortest decimals that are these very numbers in float32.
        mean, std = ([float(str(value)) for value in buffer.flatten().numpy()]
                     for buffer in (self.mean, self.std))
        formula = '(pixel - mean) / std'
        advice = 'Hand in pixels as they were decoded. The file normalises.' \
            if self.normalize else f'Normalise before: {formula}, for pixels in ' \
            '[0, 255]. The file does not.'
        return dict(
            name='frames', shape=[sizes[axis] for axis in self.layout],
            layout=self.layout, dtype='uint8' if self.normalize else 'float32',
            axes=', '.join(f'{axis} {_AXES[axis]}' for axis in self.layout),
            channel_order=channel_order, pixel_range=[0, 255],
            normalization=dict(inside=self.normalize, mean=mean, std=std,
                               formula=formula, advice=advice),
            clip_len=sizes['T'], frame_interval=frame_interval,
            size=[sizes['H'], sizes['W']])

    def frames_of(self, pixels: Tensor) -> Tensor:
        """What a user hands in, by the contract, for uint8 pixels (N, C, T, H, W)."""
        norm = self.contract['input']['normalization']
        if not norm['inside']:
            mean, std = (torch.tensor(norm[key]).view(-1, 1, 1, 1)
                         for key in ('mean', 'std'))
            pixels = (pixels - mean) / std
        return _permute(pixels, _PIXELS, self.layout).contiguous()

    def forward(self, frames: Tensor) -> Tensor:
        """What the file computes: one row for each clip."""
        raise NotImplementedError

    def reference(self, pixels: Tensor) -> Tensor:
        """The same, of uint8 pixels (N, C, T, H, W), as tests of the model compute it:
        preprocessor first."""
        raise NotImplementedError


class _DeployableRecognizer(DeployableModel):
    """Scores of single views: frames to logits (N, num_classes).

    Frames are (N, C, T, H, W) for a model of clips, (N, T, C, H, W) for one that takes
    them one by one, as TSM. The data preprocessor's ``format_shape`` tells which.
    """
    layouts = dict(NCTHW='NCTHW', NCHW='NTCHW')

    def __init__(self, model: nn.Module, clip_shape: Sequence[int],
                 normalize: bool = True) -> None:
        super().__init__(model, clip_shape, normalize)
        kind = getattr(model.data_preprocessor, 'format_shape', None)
        if kind not in self.layouts:
            raise ValueError('Recognisers are exported whose data preprocessor has '
                             f'format_shape {" or ".join(self.layouts)}, got {kind}.')
        self.layout = self.layouts[kind]

    def forward(self, frames: Tensor) -> Tensor:
        clips = self._clips(frames)
        inputs = clips[:, None] if self.layout == _PIXELS else clips.transpose(1, 2)
        return self.model(inputs, mode='tensor', stage='head')

    def reference(self, pixels: Tensor) -> Tensor:
        preprocessor = self.model.data_preprocessor
        if preprocessor.to_rgb:  # it takes BGR; the file takes RGB in any case
            pixels = pixels.flip(1)
        # Clips have an axis of views before them; frames are the views.
        views = [clip[None] if self.layout == _PIXELS else clip.transpose(0, 1)
                 for clip in pixels]
        batch = preprocessor(dict(inputs=views, data_samples=[None] * len(views)))
        return self.model(batch['inputs'], mode='tensor', stage='head')


class _DeployableEncoder(DeployableModel):
    """Features of clips of tracklets: frames (N, T, C, H, W) to (N, D)."""
    layout = 'NTCHW'

    def forward(self, frames: Tensor) -> Tensor:
        # extract_feat iterates over the tracklets of a batch, whose number is open.
        return self.model.clip_features(self._clips(frames))

    def reference(self, pixels: Tensor) -> Tensor:
        samples = self.model.test_step(dict(
            inputs=[clip[None] for clip in pixels],
            data_samples=[BaseDataElement() for _ in pixels]))
        return torch.stack([sample.feature for sample in samples])


def _permute(clips: Tensor, layout: str, wanted: str) -> Tensor:
    """The same clips with their axes in another order."""
    return clips.permute([layout.index(axis) for axis in wanted])


def _statistics(model: nn.Module, num_channels: int) -> tuple[Tensor, Tensor]:
    """Mean and std (C, 1, 1, 1) that a model's preprocessor normalises with."""
    preprocessor = model.data_preprocessor
    found = [getattr(preprocessor, name, None) for name in ('mean', 'std')]
    if any(value is None for value in found):
        raise ValueError(
            f'The {type(preprocessor).__name__} of this config has no mean and std, so '
            'an exported file could not say what it takes: normalise there '
            '(model.data_preprocessor), not in the pipeline.')
    mean, std = (value.detach().clone().view(-1, 1, 1, 1) for value in found)
    if len(mean) != num_channels:
        raise ValueError(f'The config normalises {len(mean)} channels, and a clip has '
                         f'{num_channels}: set C of --shape C T H W.')
    return mean, std


def load_deployable(checkpoint: PathLike, config: Union[PathLike, Config, None] = None,
                    clip_shape: Optional[Sequence[int]] = None,
                    normalize: bool = True) -> DeployableModel:
    """Build a model for export and fill it from a checkpoint.

    Args:
        checkpoint, config: As for :func:`~.model_loading.read_trained_model`.
        clip_shape: (C, T, H, W) of one clip. Default: what the test pipeline makes.
        normalize: See :class:`DeployableModel`.

    Returns:
        The model in evaluation mode, on the CPU, with its contract.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: As :func:`~.model_loading.load_model`, or the model cannot be
            exported, or the shape of a clip is not known.
    """
    trained = read_trained_model(checkpoint, config)
    make = _make_encoder if issubclass(model_class(trained.config), VideoReID) \
        else _make_recognizer
    return make(trained, clip_shape, normalize).eval()


def _contract(model: DeployableModel, task: str, trained: TrainedModel, pipeline: Any,
              channel_order: str = 'RGB', frame_interval: int = 1, **output) -> dict:
    return dict(
        task=task, model=type(model.model).__name__, checkpoint=Path(trained.path).name,
        weights_sha256=weights_sha256(model.model.state_dict()),
        test_pipeline=json.loads(json.dumps(pipeline, default=str)),
        versions=dict(cosam_mm=__version__, torch=torch.__version__),
        input=model.input_contract(channel_order, frame_interval),
        output=dict(output, dtype='float32'))


def _make_recognizer(trained: TrainedModel, clip_shape: Optional[Sequence[int]],
                     normalize: bool) -> DeployableModel:
    from .action_recognizer import load_recognizer  # needs MMAction2
    loaded, config = load_recognizer(trained), trained.config
    dataset = dataset_of_tests(config)
    pipeline = dataset.get('pipeline') or []
    if clip_shape is None and not pipeline:
        raise ValueError('This config has no test pipeline that would give the shape '
                         'of a clip: give --shape C T H W.')
    model = _DeployableRecognizer(loaded, clip_shape or input_shape(config), normalize)
    intervals = [step.get('frame_interval', 1) for step in pipeline
                 if 'clip_len' in step]
    model.contract = _contract(
        model, 'action recognition', trained, pipeline,
        'flow x, flow y' if dataset.get('modality') == 'Flow' else 'RGB',
        intervals[-1] if intervals else 1,
        name='scores', shape=['N', loaded.cls_head.num_classes],
        meaning=_VIEWS[loaded.cls_head.average_clips])
    names = loaded.class_names
    model.contract['class_names'] = None if names is None else [*names]
    return model


def _make_encoder(trained: TrainedModel, clip_shape: Optional[Sequence[int]],
                  normalize: bool) -> DeployableModel:
    from .tracklet_encoder import TrackletEncoder  # needs OpenCV
    encoder = TrackletEncoder(trained, device='cpu')
    pipeline = json.loads(encoder.recipe)['pipeline']
    if clip_shape is None:
        lengths = [step['num_frames'] for step in pipeline if 'num_frames' in step]
        sizes = [step['size'] for step in pipeline if 'size' in step]
        if not lengths or not sizes:
            raise ValueError('The test pipeline of this config has no num_frames and '
                             'size: give --shape C T H W.')
        clip_shape = 3, lengths[-1], *sizes[-1]
    model = _DeployableEncoder(encoder.model, clip_shape, normalize)
    model.contract = _contract(
        model, 'person re-identification', trained, pipeline,
        name='features', shape=['N', encoder.model.aggregation.out_channels],
        meaning='Feature of one clip, not of unit length. That of a tracklet is '
        'the mean over its clips without overlap, the frames of a short last one '
        f'looped; tests compare by {encoder.default_distance} distance.')
    return model

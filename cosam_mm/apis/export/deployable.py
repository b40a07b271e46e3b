"""A trained model as one function of a batch of frames.

What a config spreads over preprocessor, model and test protocol is joined here to a
module that can be traced: a tensor in, a tensor out, nothing but the batch size open.

    DeployableRecognizer   (N, C, T, H, W) views of videos     -> (N, num_classes)
                           (N, T, C, H, W) where the model takes frames, as TSM
    DeployableEncoder      (N, T, C, H, W) clips of tracklets  -> (N, D)
"""
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Optional

import torch
from mmengine.config import Config
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from cosam_mm import __version__
from cosam_mm.apis.model_loading import (
    TrainedModel,
    model_class,
    read_trained_model,
    weights_sha256,
)
from cosam_mm.models.reid import VideoReID
from cosam_mm.utils.config import input_shape

from .contract import input_contract, plain

__all__ = ['DeployableEncoder', 'DeployableModel', 'DeployableRecognizer',
           'load_deployable']

ClipShape = tuple[int, int, int, int]
_PIXELS = 'NCTHW'  # of uint8 clips in this package


class DeployableModel(nn.Module):
    """Frames to output, with the normalisation inside or left to the caller.

    Args:
        model: In evaluation mode, with a data preprocessor that has ``mean`` and
            ``std`` in units of a pixel in [0, 255]. Its parameters are frozen.
        clip_shape: (C, T, H, W) of one clip.
        normalize: Whether :meth:`forward` takes uint8 pixels and normalises them, or
            floats that are normalised already.

    Attributes:
        layout: Axes of the input, as 'NCTHW'.
        contract: What goes in and comes out; see :mod:`.contract`.

    Raises:
        ValueError: The preprocessor has no mean and std, or not one for each channel.
    """
    layout = _PIXELS

    def __init__(self, model: nn.Module, clip_shape: Sequence[int],
                 normalize: bool = True) -> None:
        super().__init__()
        mean, std = _statistics(model, clip_shape[0])
        # Autograd, and checkpointing that depends on it, has no place in a file.
        self.model = model.requires_grad_(False)
        self.clip_shape = tuple(clip_shape)
        self.normalize = normalize
        self.register_buffer('mean', mean, persistent=False)
        self.register_buffer('std', std, persistent=False)
        self.contract: dict = {}

    def _clips(self, frames: Tensor) -> Tensor:
        """(N, C, T, H, W), as the backbone takes them, of the input."""
        clips = _permute(frames, self.layout, _PIXELS)
        return (clips.float() - self.mean) / self.std if self.normalize else clips

    def frames_of(self, pixels: Tensor) -> Tensor:
        """What a user of the file hands in for pixels, by the contract.

        Args:
            pixels: (N, C, T, H, W), uint8.
        """
        given = self.contract['input']
        norm = given['normalization']
        if not norm['inside']:
            mean, std = (torch.tensor(norm[key]).view(-1, 1, 1, 1)
                         for key in ('mean', 'std'))
            pixels = (pixels - mean) / std
        return _permute(pixels, _PIXELS, given['layout']).contiguous()

    def forward(self, frames: Tensor) -> Tensor:
        """What the file computes: one row for each clip."""
        raise NotImplementedError

    def reference(self, pixels: Tensor) -> Tensor:
        """The same by the way that tests of the model go, preprocessor first.

        Args:
            pixels: (N, C, T, H, W), uint8.
        """
        raise NotImplementedError


class DeployableRecognizer(DeployableModel):
    """Scores of single views: frames to logits (N, num_classes).

    Frames are (N, C, T, H, W) for a model of clips, (N, T, C, H, W) for one that takes
    them one by one. The data preprocessor's ``format_shape`` tells which.
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
        """Frames in ``layout`` to (N, num_classes)."""
        clips = self._clips(frames)
        inputs = clips[:, None] if self.layout == _PIXELS else clips.transpose(1, 2)
        return self.model(inputs, mode='tensor', stage='head')

    def reference(self, pixels: Tensor) -> Tensor:
        """(N, C, T, H, W) to (N, num_classes)."""
        preprocessor = self.model.data_preprocessor
        if preprocessor.to_rgb:  # it takes BGR; the file takes RGB in any case
            pixels = pixels.flip(1)
        # Clips have an axis of views before them; frames are the views.
        views = [clip[None] if self.layout == _PIXELS else clip.transpose(0, 1)
                 for clip in pixels]
        batch = preprocessor(dict(inputs=views, data_samples=[None] * len(views)))
        return self.model(batch['inputs'], mode='tensor', stage='head')


class DeployableEncoder(DeployableModel):
    """Features of clips: frames (N, T, C, H, W) to (N, D)."""
    layout = 'NTCHW'

    def forward(self, frames: Tensor) -> Tensor:
        """(N, T, C, H, W) to (N, D)."""
        # extract_feat goes over the tracklets of a batch, whose number stays open here.
        return self.model.clip_features(self._clips(frames))

    def reference(self, pixels: Tensor) -> Tensor:
        """(N, C, T, H, W) to (N, D)."""
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


# -- from a checkpoint -------------------------------------------------------


def load_deployable(checkpoint: str, config: Optional[Config] = None,
                    clip_shape: Optional[Sequence[int]] = None,
                    normalize: bool = True) -> DeployableModel:
    """Build a model for export and fill it from a checkpoint.

    Args:
        checkpoint: File written in training, or by the converter.
        config: Default: the one in the checkpoint, which is read as data.
        clip_shape: (C, T, H, W) of one clip. Default: what the config's test
            pipeline makes.
        normalize: See :class:`DeployableModel`.

    Returns:
        The model in evaluation mode, on the CPU, with its contract.

    Raises:
        FileNotFoundError: There is no such checkpoint.
        ValueError: The file is no checkpoint, it holds no config and none is given,
            its parameters do not fit, the model is of no kind that can be exported,
            or the shape of a clip is not known.
    """
    trained = read_trained_model(checkpoint, config)
    is_encoder = issubclass(model_class(trained.config), VideoReID)
    make = _deployable_encoder if is_encoder else _deployable_recognizer
    return make(trained, clip_shape, normalize).eval()


def _describe(task: str, model: nn.Module, checkpoint: str, pipeline: Sequence) -> dict:
    """The part of a contract that all models have."""
    return dict(
        task=task, model=type(model).__name__, checkpoint=Path(checkpoint).name,
        weights_sha256=weights_sha256(model), test_pipeline=plain(pipeline),
        versions=dict(cosam_mm=__version__, torch=torch.__version__))


def _given(model: DeployableModel, channel_order: str, frame_interval: int = 1) -> dict:
    # The shortest decimals that are these very numbers in float32.
    mean, std = ([float(str(value)) for value in buffer.flatten().numpy()]
                 for buffer in (model.mean, model.std))
    return input_contract(model.layout, model.clip_shape, channel_order, mean, std,
                          model.normalize, frame_interval)


_VIEWS = {
    'score': 'Logits of one view. Several views (ten crops, clips) are several rows: '
             'average the logits, then softmax gives probabilities.',
    'prob': 'Logits of one view. Several views (ten crops, clips) are several rows: '
            'softmax each, then average the probabilities.',
    None: 'Logits of one view: softmax gives probabilities.',
}


def _deployable_recognizer(trained: TrainedModel, clip_shape: Optional[Sequence[int]],
                           normalize: bool) -> DeployableModel:
    from cosam_mm.apis.action_recognizer import load_recognizer  # needs MMAction2
    loaded, config = load_recognizer(trained), trained.config
    dataset = (config.get('test_dataloader') or {}).get('dataset') or {}
    pipeline = dataset.get('pipeline') or []
    if clip_shape is None:
        if not pipeline:
            raise ValueError('This config has no test pipeline that would tell the '
                             'shape of a clip: give --shape C T H W.')
        clip_shape = input_shape(config)
    model = DeployableRecognizer(loaded, clip_shape, normalize)
    is_flow = dataset.get('modality') == 'Flow'
    intervals = [step.get('frame_interval', 1) for step in pipeline
                 if 'clip_len' in step]
    model.contract = dict(
        _describe('action recognition', loaded, trained.path, pipeline),
        input=_given(model, 'flow x, flow y' if is_flow else 'RGB',
                     intervals[-1] if intervals else 1),
        output=dict(name='scores', shape=['N', loaded.cls_head.num_classes],
                    dtype='float32', meaning=_VIEWS[loaded.cls_head.average_clips]),
        class_names=None if loaded.class_names is None else [*loaded.class_names])
    return model


def _deployable_encoder(trained: TrainedModel, clip_shape: Optional[Sequence[int]],
                        normalize: bool) -> DeployableModel:
    from cosam_mm.apis.tracklet_encoder import TrackletEncoder  # needs OpenCV
    loaded = TrackletEncoder(trained, device='cpu')
    pipeline = json.loads(loaded.recipe)['pipeline']
    model = DeployableEncoder(loaded.model, clip_shape or _tracklet_shape(pipeline),
                              normalize)
    model.contract = dict(
        _describe('person re-identification', loaded.model, trained.path, pipeline),
        input=_given(model, 'RGB'),
        output=dict(
            name='features', shape=['N', loaded.model.aggregation.out_channels],
            dtype='float32',
            meaning='Feature of one clip, not of unit length. That of a tracklet is '
            'the mean over its clips without overlap, the frames of a short last one '
            f'looped; tests compare by {loaded.default_distance} distance.'))
    return model


def _tracklet_shape(pipeline: Sequence[Mapping]) -> ClipShape:
    """(C, T, H, W) that a test pipeline of tracklets makes."""
    lengths = [step['num_frames'] for step in pipeline if 'num_frames' in step]
    sizes = [step['size'] for step in pipeline if 'size' in step]
    if not lengths or not sizes:
        raise ValueError('The test pipeline of this config tells no num_frames and '
                         'size: give --shape C T H W.')
    height, width = sizes[-1]
    return 3, lengths[-1], height, width

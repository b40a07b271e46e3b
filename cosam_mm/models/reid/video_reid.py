"""A re-ID model: backbone, temporal aggregation and, for training, a classifier.

Subramaniam et al., ICCV 2019, section 3.3. The backbone carries the attention, as
plugins; nothing here knows of it. Backbones of single frames and of clips, this
package's and other mm packages', take each other's place by config::

    tracklets (N, num_clips, C, T, H, W)
        | clips
        v
    clips (M, C, T, H, W)         M = all clips
        | frame_wise: frames go through the backbone as (M*T, C, H, W),
        v             else clips as they are
    maps (M, C', T', H', W')
        | aggregation
        v
    clip features (M, D)
        | mean over a tracklet's clips
        v
    features (N, D) --- triplet loss
        | neck, if there is one
        v
    features (N, D) --- retrieval
        | head
        v
    scores (N, num_pids) --- cross-entropy
"""
from collections.abc import Iterable, Sequence
from typing import Optional, Union

import torch
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from cosam_mm import registry

__all__ = ['VideoReID']

Tracklets = Union[Tensor, Sequence[Tensor]]

_PAPER_LOSSES = dict(
    id=dict(type='IdentityLoss'), triplet=dict(type='BatchHardTripletLoss'))


@registry.MODELS.register_module()
class VideoReID(BaseModel):
    """One feature a tracklet, near for the same person and far for another.

    Args:
        backbone: Config of the backbone. Of several outputs the last counts.
        aggregation: Config of the aggregation, maps (M, C', T, H', W') to
            (M, D). ``in_channels`` is filled in from ``out_channels`` of the
            backbone where it is not named and the backbone tells.
        head: Config of the classifier, (N, D) to (N, num_pids); ``in_channels``
            is filled in from the aggregation. None: the model cannot be trained.
        losses: Name to config; each loss is called with (feature (N, D) before the
            neck, score (N, num_pids), label (N,)) and logged as ``loss_<name>``.
            By default the paper's: ``id`` (:class:`IdentityLoss`) and ``triplet``
            (:class:`BatchHardTripletLoss`). Of a loss with parameters of each
            identity, ``in_channels`` and ``num_pids`` are filled in, where its class
            names them in ``sized_by``.
        frame_wise: Whether the backbone takes frames, (M*T, C, H, W), instead of
            clips, (M, C, T, H, W). Then ``num_frames`` of its modules whose class sets
            ``compares_frames`` must be T; it is set to T where they take any length.
        max_clips_per_forward: Clips that go through the network at once outside of
            training: memory grows with it.
        data_preprocessor: Config; by default :class:`TrackletPreprocessor`'s.
        init_cfg: As in any mmengine module.
        neck: Config of what stands between the feature of the metric losses and
            that of retrieval and the head, (N, D) to (N, D), such as
            :class:`BNNeck`. In evaluation it should be affine: the mean of the
            features of clips is then the feature of the mean.

    Raises:
        ValueError: ``max_clips_per_forward`` is below 1, or channels are not known.

    Example:
        >>> model = VideoReID(
        ...     dict(type='FrameResNet', depth=14, base_channels=8),
        ...     dict(type='TemporalPoolAggregation'))
        >>> model.extract_feat(torch.zeros(2, 3, 3, 4, 64, 32)).shape
        torch.Size([2, 256])
    """

    def __init__(self,
                 backbone: dict,
                 aggregation: dict,
                 head: Optional[dict] = None,
                 losses: Optional[dict[str, dict]] = None,
                 frame_wise: bool = True,
                 max_clips_per_forward: int = 16,
                 data_preprocessor: Optional[dict] = None,
                 init_cfg: Optional[dict] = None,
                 neck: Optional[dict] = None) -> None:
        super().__init__(
            data_preprocessor=data_preprocessor or dict(type='TrackletPreprocessor'),
            init_cfg=init_cfg)
        if max_clips_per_forward < 1:
            raise ValueError('max_clips_per_forward must be at least 1, got '
                             f'{max_clips_per_forward}.')
        self.frame_wise = frame_wise
        self.max_clips_per_forward = max_clips_per_forward
        self.backbone = MODELS.build(backbone)
        self.aggregation = _build_on(self.backbone, 'aggregation', aggregation)
        self.neck = self.head = self.losses = None
        below = self.aggregation
        if neck is not None:
            self.neck = below = _build_on(below, 'neck', neck)
        if head is not None:
            self.head = _build_on(below, 'head', head)
            losses = _PAPER_LOSSES if losses is None else losses
            sizes = dict(in_channels=getattr(self.aggregation, 'out_channels', None),
                         num_pids=self.head.num_pids)
            self.losses = nn.ModuleDict(
                {name: _build_loss(cfg, sizes) for name, cfg in losses.items()})

    def extract_feat(self, inputs: Tracklets) -> Tensor:
        """The features of tracklets: means of the features of their clips.

        Args:
            inputs: (N, num_clips, C, T, H, W), or N tensors (num_clips, C, T, H,
                W) whose numbers of clips may differ, but nothing else.

        Returns:
            (N, D).

        Raises:
            ValueError: The inputs have another shape, or the backbone does not
                do what ``frame_wise`` says.
        """
        return self._through_neck(self._before_neck(inputs))

    def clip_features(self, clips: Tensor) -> Tensor:
        """The features (M, D) of single clips (M, C, T, H, W)."""
        return self._through_neck(self.aggregation(self._feature_maps(clips)))

    def _before_neck(self, inputs: Tracklets) -> Tensor:
        """Tracklets to (N, D), what the losses see."""
        _check_inputs(inputs)
        features = torch.cat([self.aggregation(self._feature_maps(clips))
                              for clips in self._portions(inputs)])    # (M, D)
        counts = [len(tracklet) for tracklet in inputs]
        return torch.stack([part.mean(0) for part in features.split(counts)])

    def _through_neck(self, feature: Tensor) -> Tensor:
        """(N, D) to (N, D), the feature of retrieval."""
        return feature if self.neck is None else self.neck(feature)

    def _portions(self, inputs: Tracklets) -> Iterable[Tensor]:
        """All clips in portions (m, C, T, H, W); one where batch norms learn."""
        if isinstance(inputs, Tensor):
            clips = inputs.flatten(0, 1)
            return [clips] if self.training else clips.split(
                self.max_clips_per_forward)
        clips = [clip for tracklet in inputs for clip in tracklet]
        size = len(clips) if self.training else self.max_clips_per_forward
        return (torch.stack(clips[i:i + size]) for i in range(0, len(clips), size))

    def _feature_maps(self, clips: Tensor) -> Tensor:
        """(M, C, T, H, W) to (M, C', T', H', W')."""
        if not self.frame_wise:
            return _last_output(self.backbone(clips), 5, 'True')
        _agree_on_clip_length(self.backbone, clips.shape[2])
        frames = clips.transpose(1, 2).flatten(0, 1)           # (M*T, C, H, W)
        maps = _last_output(self.backbone(frames), 4, 'False')  # (M*T, C', H', W')
        return maps.unflatten(0, (-1, clips.shape[2])).transpose(1, 2)

    def forward(self, inputs: Tracklets,
                data_samples: Optional[Sequence[BaseDataElement]] = None,
                mode: str = 'tensor'
                ) -> Union[Tensor, dict[str, Tensor], list[BaseDataElement]]:
        """Run one of three modes.

        Args:
            inputs: See :meth:`extract_feat`.
            data_samples: N samples; ``loss`` reads their ``label``.
            mode: ``'tensor'``, ``'loss'`` or ``'predict'``.

        Returns:
            - tensor: the features (N, D);
            - loss: ``loss_<name>`` of each loss, and ``top1_acc``;
            - predict: the samples with ``feature`` (D,) set.

        Raises:
            ValueError: There is no such mode, or the batch is not fit for it.
        """
        if mode == 'tensor':
            return self.extract_feat(inputs)
        if mode not in ('loss', 'predict'):
            raise ValueError(
                f"mode must be 'tensor', 'loss' or 'predict', got {mode!r}.")
        return getattr(self, mode)(inputs, data_samples)

    def loss(self, inputs: Tensor,
             data_samples: Sequence[BaseDataElement]) -> dict[str, Tensor]:
        """The losses of a training batch, and its accuracy.

        ``ValueError``: the model has no head, the inputs are no tensor, or labels are
        missing or outside of the head's.
        """
        if not isinstance(inputs, Tensor):
            raise ValueError(
                'Training needs the tracklets as one tensor, got a '
                f'{type(inputs).__name__}: one by one they would give batch norms '
                "other statistics. Use data_preprocessor=dict(type="
                "'TrackletPreprocessor').")
        if self.head is None:
            raise ValueError('This model was built without a head, so it has '
                             "nothing to train: set head=dict(type='IdentityHead', "
                             'num_pids=...).')
        labels = self._labels(data_samples, len(inputs))
        feature = self._before_neck(inputs)                         # (N, D)
        labels = torch.tensor(labels, device=feature.device)        # (N,)
        score = self.head(self._through_neck(feature))              # (N, num_pids)
        losses = {f'loss_{name}': loss(feature, score, labels)
                  for name, loss in self.losses.items()}
        top1 = (score.argmax(1) == labels).float().mean()
        return {**losses, 'top1_acc': top1}

    def _labels(self, data_samples: Optional[Sequence[BaseDataElement]],
                num_tracklets: int) -> list[int]:
        count = None if data_samples is None else len(data_samples)
        if count != num_tracklets:
            raise ValueError(f'{num_tracklets} tracklets need as many data_samples '
                             f'with a label, got {count}.')
        labels = [int(sample.label) for sample in data_samples]
        num_pids = self.head.num_pids
        for sample, label in zip(data_samples, labels):
            if not 0 <= label < num_pids:
                name = getattr(sample, 'tracklet_id', 'a tracklet')
                raise ValueError(
                    f'Label {label} of {name} is outside [0, {num_pids}): the head '
                    f'was built for num_pids={num_pids}. Set model.head.num_pids to '
                    "the identities of the training set, and train on "
                    "subset='train', which alone has labels.")
        return labels

    def predict(self, inputs: Tracklets,
                data_samples: Optional[Sequence[BaseDataElement]] = None
                ) -> list[BaseDataElement]:
        """Give each sample its ``feature``; without samples, make some."""
        features = self.extract_feat(inputs)
        data_samples = data_samples or [BaseDataElement() for _ in features]
        for sample, feature in zip(data_samples, features):
            sample.feature = feature
        return list(data_samples)


def _build_on(below: nn.Module, role: str, cfg: dict) -> nn.Module:
    """Build a part that takes the output of the part ``below``."""
    if 'in_channels' not in cfg:
        channels = getattr(below, 'out_channels', None)
        if not isinstance(channels, int):
            raise ValueError(
                f'{type(below).__name__} does not tell how many channels it puts '
                f'out: set in_channels of the {role}.')
        cfg = {'in_channels': channels, **cfg}
    return MODELS.build(cfg)


def _build_loss(cfg: dict, sizes: dict[str, Optional[int]]) -> nn.Module:
    """Build a loss; what its class names in ``sized_by`` is filled in from sizes."""
    kind = cfg['type'] if isinstance(cfg['type'], type) else MODELS.get(cfg['type'])
    own = {key: sizes[key] for key in getattr(kind, 'sized_by', ())
           if sizes[key] is not None}
    return MODELS.build({**own, **cfg})


def _agree_on_clip_length(backbone: nn.Module, num_frames: int) -> None:
    """Tell modules that compare the frames of a clip how long a clip is.

    Where the frames are in the batch, a module built for another length would join
    frames of different tracklets. Only modules whose class sets ``compares_frames``
    are asked, such as COSAM: ``num_frames`` of others may mean anything.
    """
    for name, module in backbone.named_modules():
        if (not getattr(module, 'compares_frames', False)
                or module.num_frames == num_frames):
            continue
        if getattr(module, 'any_size', False) or getattr(module, 'num_references', 0):
            module.num_frames = num_frames
        else:
            raise ValueError(
                f'Clips have {num_frames} frames, and {name} of the backbone was built '
                f'for {module.num_frames}: set num_frames={num_frames} there, or '
                f'num_frames={module.num_frames} of SampleTrackletFrames in the '
                'pipeline.')


def _last_output(output: Union[Tensor, Sequence[Tensor]], dim: int,
                 other: str) -> Tensor:
    """The last of a backbone's outputs, which must have ``dim`` dimensions."""
    if isinstance(output, (tuple, list)):
        output = output[-1]
    if output.dim() != dim:
        kinds = ('frames', 'clips') if dim == 4 else ('clips', 'frames')
        raise ValueError(
            f'Of a backbone of {kinds[0]} feature maps of {dim} dimensions are '
            f'expected, got {tuple(output.shape)}. For a backbone of {kinds[1]} set '
            f'frame_wise={other}.')
    return output


def _check_inputs(inputs: Tracklets) -> None:
    if not len(inputs):
        raise ValueError('There is no tracklet in the batch.')
    for clips in inputs:
        if clips.dim() != 5 or 0 in clips.shape:
            raise ValueError('Each tracklet is needed as (num_clips, C, T, H, W), '
                             f'got {tuple(clips.shape)}.')
    shapes = {tuple(clips.shape[1:]) for clips in inputs}
    if len(shapes) > 1:
        raise ValueError(f'The clips of a batch need equal shapes (C, T, H, W), got '
                         f'{sorted(shapes)}: resize the frames, or test with '
                         'batch_size=1.')

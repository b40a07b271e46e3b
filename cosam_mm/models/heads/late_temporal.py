"""Classification heads over a backbone's sequence of tokens.

Kalfaoglu et al., ECCVW 2020: the backbone's feature maps are averaged over
space, one token is left per step of time, a temporal encoder makes one feature
of them, and a linear layer scores the classes::

    feature maps (N, C, T, H, W)
        | spatial average
    tokens (N, T, C)
        | temporal encoder: mean, LSTM or BERT
    feature (N, D)
        | dropout, linear
    scores (N, num_classes)

The heads differ in the encoder only. They fit ``Recognizer3D`` as any head of
MMAction2 does: losses, clip averaging and predictions are its ``BaseHead``'s.
"""
from collections.abc import Sequence
from typing import Optional, Union

from mmaction.models.heads.base import BaseHead
from mmengine.model import BaseModule
from torch import Tensor, nn

from cosam_mm.layers import TemporalBERT, TemporalLSTM, TemporalMean
from cosam_mm.registry import MODELS

__all__ = ['BERTHead', 'LSTMHead', 'MeanHead']


class LateTemporalHead(BaseHead):
    """Spatial average, temporal encoder, dropout, linear classifier.

    Args:
        temporal: The encoder, (N, T, C) to (N, ``temporal.out_channels``).
        num_classes: Classes to score.
        in_channels: Channels C of the backbone's output.
        dropout_ratio: Before the classifier.
        topk: Accuracies logged in training.
        average_clips: How the scores of several clips or crops of a video
            become one: ``'score'`` averages raw scores, as the paper does,
            ``'prob'`` probabilities, None keeps them apart.
        settings: ``loss_cls`` (the config of the loss, by default cross-entropy),
            ``label_smooth_eps`` and ``init_cfg`` of ``BaseHead``.
    """

    def __init__(self,
                 temporal: BaseModule,
                 num_classes: int,
                 in_channels: int,
                 dropout_ratio: float = 0.8,
                 topk: Union[int, Sequence[int]] = (1, 3),
                 average_clips: Optional[str] = 'score',
                 **settings) -> None:
        if settings.get('multi_class'):
            raise ValueError('multi_class: several labels of a clip are not supported.')
        super().__init__(
            num_classes, in_channels, average_clips=average_clips,
            topk=topk if isinstance(topk, int) else tuple(topk), **settings)
        self.temporal = temporal
        self.dropout = nn.Dropout(dropout_ratio)
        self.fc_cls = nn.Linear(temporal.out_channels, num_classes)

    def init_weights(self) -> None:
        """Xavier-uniform classifier with zero bias; encoders did their own."""
        nn.init.xavier_uniform_(self.fc_cls.weight)
        nn.init.zeros_(self.fc_cls.bias)

    def forward(self, x: Tensor, **kwargs) -> Tensor:
        """Features (N, C, T, H, W) to raw scores (N, num_classes).

        What recognisers hand to every head besides is not used. ``ValueError`` for
        features of other channels than ``in_channels``.
        """
        if x.dim() != 5 or x.shape[1] != self.in_channels:
            raise ValueError(
                f'{type(self).__name__} was built for features of shape (N, '
                f'{self.in_channels}, T, H, W), got {tuple(x.shape)}: set '
                'in_channels of the head to the channels of the backbone, '
                'or its feature_reduction.')
        tokens = x.mean(dim=(3, 4)).transpose(1, 2)   # (N, T, C)
        feature = self.temporal(tokens)               # (N, D)
        scores = self.fc_cls(self.dropout(feature))   # (N, num_classes)
        # Losses and metrics work in float32; numpy does not know bfloat16.
        return scores.float()


@MODELS.register_module()
class MeanHead(LateTemporalHead):
    """The plain pooled head: the average over time and space.

    Args:
        num_classes, in_channels, kwargs: See :class:`LateTemporalHead`.
    """

    def __init__(self, num_classes: int, in_channels: int, **kwargs) -> None:
        super().__init__(TemporalMean(in_channels), num_classes, in_channels,
                         **kwargs)


@MODELS.register_module()
class LSTMHead(LateTemporalHead):
    """An LSTM reads the tokens; its last output is classified.

    Args:
        num_classes, in_channels, kwargs: See :class:`LateTemporalHead`.
        hidden_channels: Size of the LSTM's state.
        num_layers: Layers of the LSTM.
    """

    def __init__(self, num_classes: int, in_channels: int,
                 hidden_channels: int = 450, num_layers: int = 2,
                 **kwargs) -> None:
        super().__init__(TemporalLSTM(in_channels, hidden_channels, num_layers),
                         num_classes, in_channels, **kwargs)


@MODELS.register_module()
class BERTHead(LateTemporalHead):
    """A BERT encoder reads the tokens; its class token is classified.

    Args:
        num_classes, in_channels, kwargs: See :class:`LateTemporalHead`.
        num_tokens: Temporal size of the backbone's output.
        temporal: Further settings of :class:`~cosam_mm.layers.TemporalBERT`.
    """

    def __init__(self, num_classes: int, in_channels: int, num_tokens: int,
                 temporal: Optional[dict] = None, **kwargs) -> None:
        super().__init__(
            TemporalBERT(in_channels, num_tokens, **(temporal or {})),
            num_classes, in_channels, **kwargs)

"""What a re-identification checkpoint of the COSAM paper's code is.

Its names and shapes tell the backbone, where attention stands, the aggregation
and the identities. Two things no parameter tells: the size of the images, which
that code fixes at 256 x 128, and the stride of layer4, which it derives from the
aggregation.
"""
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Optional

from torch import Tensor

from cosam_mm.models import backbones

from .parameter_shapes import nearest_depth, size
from .reference_names import ATTENTION, Source

__all__ = ['ReferenceReID', 'recognise_reid']

_CHANNELS = 2048
# Of the features of an image 256 high; after layer4 it depends on the stride.
_HEIGHTS = {'stem': 64, 'layer1': 64, 'layer2': 32, 'layer3': 16}


@dataclass(frozen=True)
class ReferenceReID:
    """A recognised checkpoint, as the settings of our model that it fits.

    Args:
        source: Where it comes from.
        backbone: Config of our backbone.
        aggregation: Config of our aggregation.
        head: Config of our head, or None where there is no classifier.
    """
    source: Source
    backbone: dict
    aggregation: dict
    head: Optional[dict]
    modality: str = 'rgb'

    @property
    def settings(self) -> dict:
        """Parts of the config of a ``VideoReID``."""
        return dict(backbone=self.backbone, aggregation=self.aggregation,
                    head=self.head)

    @property
    def attention(self) -> tuple[str, ...]:
        """Steps of the backbone after which COSAM stands."""
        return tuple(plugin['position'].partition('_')[2]
                     for plugin in self.backbone['plugins'])


def recognise_reid(source: Source,
                   state_dict: Mapping[str, Tensor]) -> ReferenceReID:
    """Tell which re-identification model a state dict belongs to.

    Args:
        source: The repository and backbone, already found out.
        state_dict: Parameters without a ``module.`` prefix.
    """
    aggregation = _aggregation(state_dict)
    last_stride = 2 if aggregation['type'] == 'TemporalAttentionAggregation' else 1
    plugins = [_plugin(source, state_dict, step, last_stride)
               for i, step in enumerate(source.attended)
               if _has(state_dict, f'{ATTENTION}.{i}')]
    arch_settings = getattr(backbones, source.backbone).arch_settings
    backbone = dict(
        type=source.backbone,
        depth=nearest_depth(source, state_dict, arch_settings),
        last_stride=last_stride, plugins=plugins)
    return ReferenceReID(source, backbone, aggregation,
                         _head(source, state_dict, aggregation))


def _has(state_dict: Mapping[str, Tensor], prefix: str) -> bool:
    return any(name.startswith(f'{prefix}.') for name in state_dict)


def _aggregation(state_dict: Mapping[str, Tensor]) -> dict:
    if _has(state_dict, 'aggregation.attention_conv'):
        return dict(type='TemporalAttentionAggregation', in_channels=_CHANNELS)
    if _has(state_dict, 'aggregation.lstm'):
        hidden = size(state_dict, 'aggregation.lstm.weight_hh_l0', 1, 512)
        return dict(type='TemporalRNNAggregation', in_channels=_CHANNELS,
                    hidden_channels=hidden)
    return dict(type='TemporalPoolAggregation', in_channels=_CHANNELS)


def _plugin(source: Source, state_dict: Mapping[str, Tensor], step: str,
            last_stride: int) -> dict:
    height = _HEIGHTS.get(step, 16 // last_stride)
    width = height // 2
    weight = source.name(f'plugins.after_{step}.0.summary.0.weight')
    # Where the number does not come out even, the comparison of shapes says so.
    others = size(state_dict, weight, 1, 0) // (height * width)
    cfg = dict(type='COSAM', num_frames=max(others, 1) + 1,
               spatial_size=(height, width))
    return dict(cfg=cfg, position=f'after_{step}')


def _head(source: Source, state_dict: Mapping[str, Tensor],
          aggregation: dict) -> Optional[dict]:
    num_pids = size(state_dict, f'{source.classifier}.weight', 0)
    if num_pids is None:
        return None
    channels = aggregation.get('hidden_channels', aggregation['in_channels'])
    return dict(type='IdentityHead', in_channels=channels, num_pids=num_pids)

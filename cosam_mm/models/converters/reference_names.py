"""How each reference repository calls the parts that we call by other names.

Our backbones carry the names of their authors' own code, so two of the sources
need no renaming there. The late-temporal-modelling code wraps the parts in a
numbered ``nn.Sequential`` called ``features`` and calls the additional block of
FRAB ``mapper``. The re-identification code of the COSAM paper has its backbone
under ``base``, numbered where it is torchvision's, and all attention in one list
beside it.
"""
from collections.abc import Sequence
from dataclasses import dataclass, field

from cosam_mm.models.backbones import I3D

__all__ = ['ATTENTION', 'SOURCES', 'Source']

# Prefix of a numbered list, in the re-identification code.
ATTENTION = 'attention_modules.attention_modules'


@dataclass(frozen=True)
class Source:
    """One kind of checkpoint."""
    repository: str  # where such checkpoints come from
    backbone: str    # type of ours
    stem: str        # name of the first convolution's weight; it tells sources apart
    classifier: str  # prefix of the last layer
    # Beginning of a name of ours to the source's, where they differ.
    parts: dict[str, str] = field(default_factory=dict)
    # Steps of our backbone after which the source may have attention, in the order of
    # its list; none but in re-identification.
    attended: tuple[str, ...] = ()

    def name(self, ours: str) -> str:
        """The source's name of ``ours``; the longest of ``parts`` decides."""
        words = ours.split('.')
        for length in range(len(words) - 1, 0, -1):
            part = '.'.join(words[:length])
            if part in self.parts:
                return '.'.join([self.parts[part], *words[length:]])
        return ours


_LATE_TEMPORAL = 'artest08/LateTemporalModeling3DCNN'
_COSEGMENTATION = 'InnovArul/vidreid_cosegmentation'
_LAYERS = ('layer1', 'layer2', 'layer3', 'layer4')


def _reid_parts(backbone: dict[str, str], attended: Sequence[str]) -> dict[str, str]:
    """Names of the backbone, and of what is the same beside either backbone."""
    parts = {**backbone,
             'aggregation.spatial_conv': 'aggregation.attention_conv',
             'aggregation.temporal_conv': 'aggregation.attention_tconv'}
    for i, step in enumerate(attended):
        for ours, theirs in (('reduction', 'dim_reduction'),
                             ('summary', 'spatial_mask_summary'),
                             ('channel_attention', 'channelwise_attention')):
            parts[f'plugins.after_{step}.0.{ours}'] = f'{ATTENTION}.{i}.{theirs}'
    return parts


SOURCES = (
    Source(
        _LATE_TEMPORAL, 'ResNeXt3D', 'features.0.weight', 'fc_action',
        # 2 and 3 are the ReLU and the max pool.
        {'conv1': 'features.0', 'bn1': 'features.1', 'layer1': 'features.4',
         'layer2': 'features.5', 'layer3': 'features.6', 'layer4': 'features.7',
         'reduction': 'mapper'}),
    Source(
        _LATE_TEMPORAL, 'I3D', 'features.0.conv3d.weight', 'fc_action',
        {**{name: f'features.{i}' for i, name in enumerate(I3D.endpoints)},
         'reduction': 'mapper'}),
    Source('kenshohara/3D-ResNets-PyTorch', 'ResNeXt3D', 'conv1.weight', 'fc'),
    Source('piergiaj/pytorch-i3d', 'I3D', 'Conv3d_1a_7x7.conv3d.weight',
           'logits.conv3d'),
    Source(
        _COSEGMENTATION, 'FrameResNet', 'base.0.weight', 'classifier',
        _reid_parts({'conv1': 'base.0', 'bn1': 'base.1', 'layer1': 'base.4',
                     'layer2': 'base.5', 'layer3': 'base.6', 'layer4': 'base.7'},
                    _LAYERS),
        _LAYERS),
    Source(
        _COSEGMENTATION, 'FrameSEResNet', 'base.layer0.conv1.weight', 'classifier',
        _reid_parts({name: f'base.{name}' for name in ('layer0', *_LAYERS)},
                    ('stem', *_LAYERS)),
        ('stem', *_LAYERS)),
)

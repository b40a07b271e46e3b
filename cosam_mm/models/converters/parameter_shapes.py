"""What names and shapes of parameters tell about the model they belong to."""
import re
from collections.abc import Mapping
from typing import Optional

from torch import Tensor

from .reference_names import Source

__all__ = ['count', 'nearest_depth', 'size']

StateDict = Mapping[str, Tensor]


def size(state_dict: StateDict, name: str, dim: int,
         default: Optional[int] = None) -> Optional[int]:
    """Size of a parameter in one dimension, ``default`` where it is not there."""
    tensor = state_dict.get(name)
    return default if tensor is None or tensor.dim() <= dim else tensor.shape[dim]


def count(state_dict: StateDict, pattern: str) -> int:
    """How many different numbers stand in the group of ``pattern``."""
    matches = (re.match(pattern, name) for name in state_dict)
    return len({match.group(1) for match in matches if match})


def nearest_depth(source: Source, state_dict: StateDict,
                  arch_settings: Mapping[int, tuple[int, ...]]) -> int:
    """The depth whose numbers of bottlenecks come nearest.

    The nearest, because a comparison with that model then names what is missing
    or too much.
    """
    blocks = [count(state_dict, re.escape(source.name(f'layer{i}.')) + r'(\d+)\.')
              for i in range(1, 5)]

    def distance(depth: int) -> int:
        return sum(abs(a - b) for a, b in zip(blocks, arch_settings[depth]))

    return min(arch_settings, key=distance)

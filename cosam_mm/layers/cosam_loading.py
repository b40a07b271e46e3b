"""Loading a COSAM's weights into one for clips of another length or size.

Of all weights of a COSAM only those of the first summary convolution know the size of
the cost volume. They are resampled on their way from a state dict into the module
(:mod:`.summary_resampling` says how and why), without new entries in it. The
size that they were made for is written into the state dict's metadata, as PyTorch
writes version numbers; where that was lost it is told from the number of scores, or by
the constructor's ``trained_size``.
"""
import logging
import math
from collections.abc import Mapping
from typing import Any, Optional

from mmengine.logging import print_log
from torch import Tensor, nn

from .summary_resampling import VolumeSize, infer_volume_size, resample_summary_weight

__all__ = ['ResampledSummary', 'resampled_on_load']

_NAME = 'summary.0.weight'
_METADATA = 'volume_size'
_REMEDY = ('build COSAM with trained_size=(T, H, W) of that training (of one with '
           'num_references: (num_references, H, W))')


class ResampledSummary(nn.Module):
    """A module whose ``summary.0.weight`` fits itself to the module when loaded.

    Attributes:
        volume_size: (slots, H, W) that the weight (K, slots*H*W, 1, 1) stands for;
            None for a module without one.
        trained_volume: That of state dicts which do not tell it, or None.
    """

    volume_size: Optional[VolumeSize] = None
    trained_volume: Optional[VolumeSize] = None

    def _save_to_state_dict(self, destination: Any, prefix: str,
                            keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        metadata = getattr(destination, '_metadata', None)
        if metadata is not None and self.volume_size is not None:
            metadata.setdefault(prefix[:-1], {})[_METADATA] = self.volume_size

    def _load_from_state_dict(self, state_dict: dict, prefix: str,
                              local_metadata: dict, *args: Any) -> None:
        name = prefix + _NAME
        size, is_told = self._size_of(state_dict.get(name), local_metadata, name)
        if size != self.volume_size:
            print_log(self._report(name, size, is_told), logger='current',
                      level=logging.INFO if is_told else logging.WARNING)
            # The dict is torch's own copy; the convolution reads from it next.
            state_dict[name] = self._resample(state_dict[name], size)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)

    def _resample(self, weight: Tensor, size: VolumeSize) -> Tensor:
        scores = weight.detach().unflatten(1, size)[..., 0, 0]      # (K, S, H, W)
        return resample_summary_weight(
            scores, self.volume_size).flatten(1)[..., None, None]

    def _report(self, name: str, size: VolumeSize, is_told: bool) -> str:
        report = (f'{name} is resampled from {_times(size)} scores (slots x height x '
                  f'width), which it was trained for, to {_times(self.volume_size)}.')
        if is_told:
            return report
        return (f'{report} The checkpoint does not say the former: it is taken from '
                f'the number of scores. If that is wrong, {_REMEDY}.')

    def _size_of(self, weight: Optional[Tensor], metadata: Mapping, name: str
                 ) -> tuple[Optional[VolumeSize], bool]:
        """The size that a weight was made for, and whether anything told it.

        A weight that cannot be meant for this module gets the module's size, so that
        PyTorch says what it says of other parameters.

        Raises:
            ValueError: Nothing told it, and the number of scores does not either.
        """
        own = self.volume_size
        if weight is None or own is None or not self._is_alike(weight):
            return own, True
        scores = weight.shape[1]
        for size in (metadata.get(_METADATA), self.trained_volume, own):
            if size is not None and math.prod(size) == scores:
                return tuple(size), True
        if self.trained_volume is None:
            try:
                return infer_volume_size(scores, like=own), False
            except ValueError as error:
                problem = str(error)
        else:
            problem = (f'trained_size stands for {_times(self.trained_volume)} = '
                       f'{math.prod(self.trained_volume)}')
        raise ValueError(
            f'{name} of the checkpoint holds {scores} scores, this COSAM '
            f'{_times(own)} (slots x height x width), and the checkpoint does not say '
            f'which size it was trained for: {problem}. To load it, {_REMEDY}.')

    def _is_alike(self, weight: Tensor) -> bool:
        own = self.summary[0].weight
        return (weight.dim() == 4 and weight.shape[0] == own.shape[0]
                and weight.shape[2:] == own.shape[2:])


def resampled_on_load(model: nn.Module, state_dict: Mapping[str, Tensor]
                      ) -> dict[str, tuple[VolumeSize, VolumeSize]]:
    """Which weights of a state dict a model would resample.

    Args:
        model: With COSAMs somewhere in it, or none.
        state_dict: In the model's names, with its ``_metadata`` if at hand.

    Returns:
        Name -> ((slots, H, W) that the weight was made for, that of the model).

    Raises:
        ValueError: The size that a weight was made for cannot be told.
    """
    metadata = getattr(state_dict, '_metadata', None) or {}
    found = {}
    for path, module in model.named_modules():
        if isinstance(module, ResampledSummary):
            name = f'{path}.{_NAME}' if path else _NAME
            size, _ = module._size_of(
                state_dict.get(name), metadata.get(path, {}), name)
            if size != module.volume_size:
                found[name] = (size, module.volume_size)
    return found


def _times(size: VolumeSize) -> str:
    return ' x '.join(map(str, size))

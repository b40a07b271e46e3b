"""Summary weights of COSAM for clips of another length or size.

The first summary convolution of COSAM weighs the scores of a cost volume: S slots
(the other frames of the clip, in order) of H x W positions each. Its weight is a small
video of K channels, (K, S, H, W), and is resampled as position embeddings are in
vision transformers. Three questions arise.

*What is the slot axis?* Slot j of frame n is frame j, or frame j + 1 from n on: a
moment of the clip, and the same weight for every n. A distance to frame n, the other
reading, is not what was learnt: slot 0 is one step away for frame 1 and T - 1 steps
for the last frame. So the slots are cells of one axis over the clip, as rows are over
the height.

*What happens between the cells?* A linear filter: towards more cells linear
interpolation, with the cells' centres half a cell from the edges; towards fewer cells
the filter widens to the size of the new cells, so that every old weight counts.

*What keeps the scale?* The summary is a sum over the volume, weight times score. With
weights of the same size, twice as many scores make twice the sum, and the statistics
of the batch norm that follows would not fit. Read as a Riemann sum over the clip's
space-time, each score stands for a share of the volume: weights are multiplied by
``old number of scores / new number of scores``, the ratio of the shares.

Weights are resampled when a state dict is loaded (:class:`ResampledSummary`), or in
each forward pass with ``any_size``. The size that a weight was made for is written into
the state dict's metadata, as PyTorch writes version numbers. Where the metadata was
lost, the size is inferred from the number of scores or taken from ``trained_size``.
"""
import logging
import math
import warnings
from collections.abc import Mapping
from typing import Any, Optional

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from cosam_mm.utils.messages import name_some

__all__ = [
    'ResampledSummary', 'VolumeSize', 'infer_volume_size', 'linear_filter',
    'resample_summary_weight', 'resampled_on_load'
]

VolumeSize = tuple[int, int, int]  # slots S, height H, width W
# Packages whose hooks on any layer count operations, or look for pairs of layers.
_OBSERVERS = ('torch', 'mmengine', 'cosam_mm')

_NAME = 'summary.0.weight'
_METADATA = 'volume_size'
_REMEDY = ('build COSAM with trained_size=(T, H, W) of that training (of one with '
           'num_references: (num_references, H, W))')


def linear_filter(old: int, new: int, start: int = 0, stop: Optional[int] = None, *,
                  like: Optional[Tensor] = None) -> Tensor:
    """The matrix that resamples an axis of ``old`` cells to ``new`` cells.

    Args:
        old: Cells before.
        new: Cells after.
        start, stop: Rows wanted. Default: all.
        like: Tensor whose type, but no less than float32, and device the matrix gets.

    Returns:
        (stop - start, old): rows of a triangular filter, which sum to 1. The
        identity for ``old == new``.

    Example:
        >>> linear_filter(2, 4)
        tensor([[1.0000, 0.0000],
                [0.7500, 0.2500],
                [0.2500, 0.7500],
                [0.0000, 1.0000]])
    """
    like = torch.empty(0) if like is None else like
    kind = dict(dtype=torch.promote_types(like.dtype, torch.float32),
                device=like.device)
    stop = new if stop is None else stop
    step = old / new                                           # old cells a new one
    centers = (torch.arange(start, stop, **kind) + 0.5) * step
    cells = torch.arange(old, **kind) + 0.5
    reach = torch.sym_max(old, new) / new                      # a cell at least
    weights = (reach - (centers[:, None] - cells).abs()).clamp(min=0)
    return weights / weights.sum(1, keepdim=True)


def resample_summary_weight(weight: Tensor, size: VolumeSize,
                            slots: Optional[tuple[int, int]] = None) -> Tensor:
    """Fit summary weights to a cost volume of another size.

    Differentiable in ``weight``.

    Args:
        weight: (K, S, H, W).
        size: (S', H', W') wanted.
        slots: (start, stop) of the new slots wanted: what a long clip needs at a
            time. Default: all.

    Returns:
        (K, stop - start, H', W'), resampled along each axis and multiplied by
        ``S*H*W / (S'*H'*W')``. ``weight`` itself where the size is the same.
    """
    old = tuple(weight.shape[1:])
    if torch.jit.is_tracing():  # where sizes are tensors; a trace is for one size
        old, size = (tuple(int(cells) for cells in axes) for axes in (old, size))
    start, stop = (0, size[0]) if slots is None else slots
    # An exported graph for several sizes may not branch on them; at the same size
    # its filters are identities.
    is_open = any(isinstance(cells, torch.SymInt) for cells in size)
    if not is_open and old == tuple(size):
        return weight if slots is None else weight[:, start:stop]
    by_slot = linear_filter(old[0], size[0], start, stop, like=weight)
    by_row = linear_filter(old[1], size[1], like=weight)
    by_column = linear_filter(old[2], size[2], like=weight)
    share = (old[0] * old[1] * old[2]) / (size[0] * size[1] * size[2])
    # In float32 at least: half weights are rounded once, at the end.
    values = torch.einsum('kshw,xw->kshx', weight.to(by_slot.dtype), by_column)
    values = torch.einsum('kshx,yh->ksyx', values, by_row)
    values = torch.einsum('ksyx,ts->ktyx', values, by_slot)
    return (values * share).to(weight.dtype)


def _uncalled_weight(layer: nn.Module) -> Tensor:
    """Weights of the first summary convolution, which never runs.

    Parametrisations of them count, and so do the hooks by which ``weight_norm``,
    ``spectral_norm`` and ``prune`` of ``torch.nn.utils`` compute them. Of other hooks a
    warning says that they do not run: most look on, as counters of operations do.

    Raises:
        ValueError: The layer computes something else, which would be ignored.
    """
    if type(layer).forward is not nn.Conv2d.forward or 'forward' in layer.__dict__:
        raise ValueError(
            "COSAM uses the weights of summary.0 without calling it, so what the "
            f'{type(layer).__name__} there computes would be ignored: leave the Conv2d '
            'in place and change its weights (torch.nn.utils.parametrize).')
    for hooks in (layer._forward_pre_hooks, layer._forward_hooks,
                  layer._backward_pre_hooks, layer._backward_hooks):
        for hook in hooks.values():
            origin = getattr(hook, '__module__', '')
            if origin.startswith('torch.nn.utils.'):
                hook(layer, ())
            elif origin.split('.')[0] not in _OBSERVERS:
                warnings.warn(
                    'COSAM uses the weights of summary.0 without calling it, so the '
                    f'hook {hook} there does not run: put it on the COSAM.',
                    stacklevel=3)
    return layer.weight


def infer_volume_size(scores: int, like: VolumeSize) -> VolumeSize:
    """Infer the (S, H, W) of a summary weight from its number of scores.

    The first that holds of: as many slots and the same aspect ratio as ``like``; the
    same height and width; the only size of the same aspect ratio.

    Args:
        scores: S * H * W.
        like: Size of the module that the weight is meant for.

    Raises:
        ValueError: No size of that aspect ratio has as many scores, or several do.

    >>> infer_volume_size(3 * 8 * 4, (3, 16, 8)), infer_volume_size(896, (3, 16, 8))
    ((3, 8, 4), (7, 16, 8))
    """
    slots, height, width = like
    divisor = math.gcd(height, width)
    rows, columns = height // divisor, width // divisor
    sizes: list[VolumeSize] = []
    for scale in range(1, math.isqrt(scores // (rows * columns)) + 1):
        positions = scale**2 * rows * columns
        if scores % positions == 0:
            sizes.append((scores // positions, scale * rows, scale * columns))
    same_slots = [size for size in sizes if size[0] == slots]
    same_positions = [size for size in sizes if size[1:] == (height, width)]
    for candidates in (same_slots, same_positions, sizes):
        if len(candidates) == 1:
            return candidates[0]
    raise ValueError(
        f'{scores} scores are no (slots, height, width) of aspect ratio '
        f'{rows}:{columns}' if not sizes else f'{scores} scores may be '
        f'{name_some([_times(size) for size in sizes[::-1]])} (slots x height x width)')


class ResampledSummary(nn.Module):
    """A module whose ``summary.0.weight`` is resampled to its size when loaded."""

    # (slots, H, W) that the weight (K, slots*H*W, 1, 1) stands for; None without one.
    volume_size: Optional[VolumeSize] = None
    # That of state dicts which do not tell it, or None.
    trained_volume: Optional[VolumeSize] = None

    def summary_weight(self, size: VolumeSize,
                       slots: Optional[tuple[int, int]] = None) -> Tensor:
        """Weights of the first summary convolution for a cost volume of some size.

        Args:
            size: (slots, H, W).
            slots: (start, stop) of those wanted. Default: all.

        Returns:
            (K, stop - start, H, W), the parameter itself where the size is its own.

        Raises:
            ValueError: The convolution does more than convolve, which would be ignored.
        """
        weight = _uncalled_weight(self.summary[0]).view(-1, *self.volume_size)
        return resample_summary_weight(weight, size, slots)

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
            report = (f'{name} is resampled from {_times(size)} scores (slots x height '
                      f'x width), which it was trained for, to '
                      f'{_times(self.volume_size)}.')
            if not is_told:
                report += (' The checkpoint does not say the former: it is inferred '
                           f'from the number of scores. If that is wrong, {_REMEDY}.')
            print_log(report, logger='current',
                      level=logging.INFO if is_told else logging.WARNING)
            scores = state_dict[name].detach().unflatten(1, size)[..., 0, 0]
            weight = resample_summary_weight(scores, self.volume_size)
            # The dict is torch's own copy; the convolution reads from it next.
            state_dict[name] = weight.flatten(1)[..., None, None]
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)

    def _size_of(self, weight: Optional[Tensor], metadata: Mapping, name: str
                 ) -> tuple[Optional[VolumeSize], bool]:
        """The size that a weight was made for, and whether anything told it.

        A weight that cannot be meant for this module gets the module's size, so that
        PyTorch says what it says of other parameters.
        """
        own = self.volume_size
        if weight is None or own is None:
            return own, True
        shape, own_shape = weight.shape, self.summary[0].weight.shape
        if len(shape) != 4 or (shape[0], *shape[2:]) != (own_shape[0], *own_shape[2:]):
            return own, True
        scores = weight.shape[1]
        for size in (metadata.get(_METADATA), self.trained_volume, own):
            if size is not None and math.prod(size) == scores:
                return tuple(size), True
        try:
            if self.trained_volume is None:
                return infer_volume_size(scores, like=own), False
            raise ValueError(f'trained_size stands for {_times(self.trained_volume)} = '
                             f'{math.prod(self.trained_volume)}')
        except ValueError as error:
            raise ValueError(
                f'{name} of the checkpoint holds {scores} scores, this COSAM '
                f'{_times(own)} (slots x height x width), and the checkpoint does not '
                f'say which size it was trained for: {error}. To load it, {_REMEDY}.'
            ) from None


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
    resampled = {}
    for path, module in model.named_modules():
        if isinstance(module, ResampledSummary):
            name = f'{path}.{_NAME}' if path else _NAME
            size, _ = module._size_of(
                state_dict.get(name), metadata.get(path, {}), name)
            if size != module.volume_size:
                resampled[name] = (size, module.volume_size)
    return resampled


def _times(size: VolumeSize) -> str:
    return ' x '.join(map(str, size))

"""Record the masks of every COSAM of a model while it runs.

The modules between a user and a COSAM deep in a backbone do not return masks. So two
hooks are put on each COSAM: one asks it for its masks, the other keeps them and passes
on the output alone. The model computes what it always does, once.
"""
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple, Optional

import torch
from torch import Tensor, nn

from .cosam import COSAM

__all__ = ['MaskRecord', 'ModuleMasks', 'record_masks', 'split_masks']


class ModuleMasks(NamedTuple):
    """Masks of one COSAM for M clips, in (0, 1); None for a mask it does not make."""

    spatial: Optional[Tensor]  # (M, T, H, W), of the features where the module stands
    channel: Optional[Tensor]  # (M, C)


class MaskRecord:
    """The masks of a model's COSAMs in all forward passes so far."""

    def __init__(self) -> None:
        # Of each forward pass, by the module's name.
        self.passes: dict[str, list[ModuleMasks]] = defaultdict(list)

    def masks(self) -> dict[str, ModuleMasks]:
        """Masks by the module's name, the clips of all passes in a row."""
        return {name: ModuleMasks(*(None if masks[0] is None else torch.cat(masks)
                                    for masks in zip(*passes)))
                for name, passes in self.passes.items()}


def split_masks(masks: Mapping[str, ModuleMasks],
                shares: Sequence[int]) -> list[dict[str, ModuleMasks]]:
    """Cut the masks of a batch into those of each video or tracklet, on the CPU.

    Args:
        masks: Masks by the module's name, of M clips each.
        shares: How many clips belong to each video; in proportion, where M is a
            multiple of their sum (several views of a clip).

    Raises:
        ValueError: A module saw another number of clips.
    """
    split = [{} for _ in shares]
    for name, both in masks.items():
        rows = len(next(mask for mask in both if mask is not None))
        views, rest = divmod(rows, sum(shares))
        if rest:
            raise ValueError(f'{name} saw {rows} clips, which {sum(shares)} clips of '
                             f'{len(shares)} videos do not explain.')
        sizes = [views * share for share in shares]
        parts = zip(*([None] * len(sizes) if mask is None else mask.cpu().split(sizes)
                      for mask in both))
        for one, part in zip(split, parts):
            one[name] = ModuleMasks(*part)
    return split


@contextmanager
def record_masks(model: nn.Module) -> Iterator[MaskRecord]:
    """Record the masks of every COSAM in a model; ValueError if it holds none.

    Yields the record, to which each forward pass adds its masks. Outputs and gradients
    of the model stay what they are.

    Example:
        >>> model = nn.Sequential(nn.Identity(), COSAM(8, 4, (2, 2)))
        >>> with record_masks(model) as record:
        ...     y = model(torch.rand(3, 8, 4, 2, 2))
        >>> record.masks()['1'].spatial.shape
        torch.Size([3, 4, 2, 2])
    """
    record = MaskRecord()
    handles = [handle for name, module in model.named_modules()
               if isinstance(module, COSAM) for handle in _hook(module, name, record)]
    if not handles:
        raise ValueError(f'There is no COSAM in this {type(model).__name__}, so it '
                         'makes no masks.')
    try:
        yield record
    finally:
        for handle in handles:
            handle.remove()


def _hook(module: COSAM, name: str, record: MaskRecord):
    """Hooks that ask for masks and keep them; whoever asks as well still gets them."""
    is_asked = []

    def ask(_, args, kwargs):
        if len(args) > 1:
            is_asked.append(args[1])
            return (args[0], True, *args[2:]), kwargs
        is_asked.append(kwargs.get('return_masks', False))
        return args, {**kwargs, 'return_masks': True}

    def keep(_, args, output):
        record.passes[name].append(ModuleMasks(*(
            None if mask is None else mask.detach() for mask in output[1:])))
        return output if is_asked.pop() else output[0]

    # First of all hooks, so that others see the output that they expect.
    return (module.register_forward_pre_hook(ask, with_kwargs=True),
            module.register_forward_hook(keep, prepend=True))

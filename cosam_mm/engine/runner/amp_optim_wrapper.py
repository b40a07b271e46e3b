"""Mixed precision where mmengine's ``AmpOptimWrapper`` refuses to work: on CPUs."""
import contextlib
from collections.abc import Iterator

import torch
from mmengine.optim import OptimWrapper
from torch import nn

from cosam_mm.registry import OPTIM_WRAPPERS

__all__ = ['CPUAmpOptimWrapper']


@OPTIM_WRAPPERS.register_module()
class CPUAmpOptimWrapper(OptimWrapper):
    """Computes the forward pass in bfloat16 on a CPU.

    bfloat16 has the exponents of float32, so that the loss needs no scaling and the
    wrapper has no state of its own: its checkpoints are those of ``OptimWrapper``.
    Arguments are those of ``OptimWrapper``.
    """

    @contextlib.contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """The context of a forward pass."""
        with super().optim_context(model), torch.autocast('cpu', torch.bfloat16):
            yield

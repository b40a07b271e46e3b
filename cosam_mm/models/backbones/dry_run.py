"""What every submodule of a network puts out for one clip, found by running it."""
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Optional

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .feature_layout import FEATURE_LAYOUTS

__all__ = [
    'evaluation_mode', 'first_tensor', 'trace_outputs', 'why_no_place', 'zeros_for'
]


def first_tensor(output: Any) -> Optional[Tensor]:
    """A tensor, or the first entry of a tuple or list if that is one, else None."""
    if isinstance(output, (tuple, list)) and output:
        output = output[0]
    return output if isinstance(output, Tensor) else None


def trace_outputs(network: nn.Module, input_shape: Sequence[int],
                  names: Optional[Iterable[str]] = None) -> dict[str, list]:
    """Run a network on zeros and note what its submodules put out.

    It runs in evaluation mode and without gradients. The mode of every module and
    the state of the random number generator are as before afterwards.

    Args:
        network: Any module that takes one tensor.
        input_shape: Of that tensor.
        names: Dotted names of the submodules to watch. Default: all.

    Returns:
        Name -> what each call of the submodule in one forward pass put out: the
        shape of its :func:`first_tensor`, or the type of what is no tensor. In the
        order in which the submodules finish; one that never runs has no calls.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Flatten())
        >>> trace_outputs(net, (4, 3, 2, 2))
        {'0': [(4, 8, 2, 2)], '1': [(4, 32)]}
    """
    modules = {name: module for name, module in network.named_modules() if name}
    names = list(modules if names is None else names)
    finished: dict[str, list] = {}

    def note(name: str):
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            feature = first_tensor(output)
            finished.setdefault(name, []).append(
                type(output) if feature is None else tuple(feature.shape))
        return hook

    handles = [modules[name].register_forward_hook(note(name)) for name in names]
    try:
        with evaluation_mode(network), torch.no_grad():
            network(zeros_for(network, input_shape))
    finally:
        for handle in handles:
            handle.remove()
    return {**finished, **{name: [] for name in names if name not in finished}}


def why_no_place(module: nn.Module, calls: Sequence) -> str:
    """Why no plugin can stand after a submodule; nothing where one can.

    Args:
        module: The submodule.
        calls: What :func:`trace_outputs` found for it.
    """
    if isinstance(module, _BatchNorm):
        return 'is a norm, which sync_bn exchanges'
    if len(calls) != 1:
        return f'runs {len(calls)} times in a forward pass'
    (shape,) = calls
    if not isinstance(shape, tuple):
        return f'puts out a {shape.__name__}'
    if len(shape) not in FEATURE_LAYOUTS.values():
        return f'puts out {len(shape)} dimensions'
    return ''


def zeros_for(module: nn.Module, shape: Sequence[int]) -> Tensor:
    """Zeros of the kind of the module's parameters, and where they are."""
    parameter = next((p for p in module.parameters() if p.is_floating_point()), None)
    if parameter is None:
        return torch.zeros(*shape)
    return torch.zeros(*shape, dtype=parameter.dtype, device=parameter.device)


@contextmanager
def evaluation_mode(network: nn.Module) -> Iterator[None]:
    """Set flags, not modes: a train() of the network's own may do much more."""
    flags = {module: module.training for module in network.modules()}
    for module in flags:
        module.training = False
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        for module, flag in flags.items():
            module.training = flag

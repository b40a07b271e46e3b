"""Faster inference and training by other forms of the same arithmetic.

    use_channels_last   weights of convolutions, and so all features, channels last
    fold_batch_norms    a batch norm becomes part of the convolution before it
    make_fast           both, and bfloat16, for a trained model

What they gain is in ``benchmarks/README.md``.
"""
import copy
import logging
import weakref
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple, Optional

import torch
from mmengine.config import Config
from mmengine.logging import print_log
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import (
    convert_conv2d_weight_memory_format,
    convert_conv3d_weight_memory_format,
)
from torch.nn.utils.fusion import fuse_conv_bn_weights

__all__ = ['Difference', 'FoldingError', 'fold_batch_norms', 'has_fast_bfloat16',
           'make_fast', 'result_difference', 'use_channels_last', 'use_fast_inference']

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
# What models put into their samples: scores of MMAction2, features of VideoReID.
_RESULTS = ('pred_score', 'feature')
# Folding and another memory format change the order of sums in fp32, no more.
_FP32_TOLERANCE = 1e-4


class FoldingError(RuntimeError):
    """A model computes something else without its batch norms."""


def use_channels_last(model: nn.Module) -> None:
    """Lay the weights of 2-D and 3-D convolutions out with the channels last.

    A convolution puts its output into the layout of its weights, and what follows
    keeps it. Values, names, shapes and the identity of the parameters stay.
    ``model.to(memory_format=torch.channels_last_3d)`` would refuse a model with
    weights or buffers of four dimensions.
    """
    convert_conv2d_weight_memory_format(model, torch.channels_last)
    convert_conv3d_weight_memory_format(model, torch.channels_last_3d)


def fold_batch_norms(model: nn.Module, run: Callable[[], Any]) -> list[str]:
    """Make batch norms part of the convolutions whose output they take.

    Which norm follows which convolution is seen while the model runs, whatever the
    order or the nesting of its modules: a pair is a convolution and a norm that took
    its output each time either ran. Pairs that share a part with others, and norms
    that use the statistics of the batch, are left alone. A convolution whose output
    something else looks at, too, cannot be told: compare the results.

    Args:
        model: In evaluation mode. Changed in place: the norms become ``nn.Identity``,
            the convolutions have a bias. It is of no use for training then.
        run: Runs the model once on typical inputs.

    Returns:
        Names of the norms that are no more.
    """
    names = {module: name for name, module in model.named_modules()}
    folded = []
    for norm, conv in _pairs(model, run).items():
        conv.weight, conv.bias = fuse_conv_bn_weights(
            conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps,
            norm.weight, norm.bias)
        parent, _, name = names[norm].rpartition('.')
        setattr(model.get_submodule(parent), name, nn.Identity())
        folded.append(names[norm])
    return folded


class _Output(NamedTuple):
    """What a convolution put out, and the norms that took it."""
    conv: nn.Module
    tensor: weakref.ref
    norms: set


def _pairs(model: nn.Module, run: Callable[[], Any]) -> dict[nn.Module, nn.Module]:
    """Norm -> convolution, as seen in a run."""
    outputs: list[_Output] = []
    latest: dict[int, _Output] = {}  # by the tensor's id, which may come back
    sources: dict[nn.Module, set] = {}

    def see_convolution(conv, _, output):
        outputs.append(_Output(conv, weakref.ref(output), set()))
        latest[id(output)] = outputs[-1]

    def see_norm(norm, args):
        output = latest.get(id(args[0]))
        is_read = output is not None and output.tensor() is args[0]
        sources.setdefault(norm, set()).add(output.conv if is_read else None)
        if is_read:
            output.norms.add(norm)

    with ExitStack() as stack, torch.no_grad():
        for module in model.modules():
            if isinstance(module, _CONVOLUTIONS):
                hook = module.register_forward_hook(see_convolution)
            elif isinstance(module, _BatchNorm):
                hook = module.register_forward_pre_hook(see_norm)
            else:
                continue
            stack.callback(hook.remove)
        run()
    found = {}
    for norm, convs in sources.items():
        conv = next(iter(convs))
        if (conv is not None and len(convs) == 1 and not norm.training
                and norm.running_var is not None
                and all(o.norms == {norm} for o in outputs if o.conv is conv)):
            found[norm] = conv
    return found


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether a device computes in bfloat16 faster than in float32."""
    if device.type == 'cuda':
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == 'cpu' and torch.ops.mkldnn._is_mkldnn_bf16_supported()


class Difference(NamedTuple):
    """How far results are apart."""
    error: float  # largest difference, by the largest value of the exact ones
    decisions: int  # samples that are scored
    changed: int  # of these, those with another best class


def result_difference(samples: Sequence, exact: Sequence) -> Difference:
    """Compare ``pred_score`` (..., K) or ``feature`` (D,) of two passes of a model.

    Raises:
        ValueError: The samples have neither.
    """
    pairs = [(getattr(one, name), getattr(other, name))
             for one, other in zip(samples, exact) for name in _RESULTS
             if hasattr(other, name)]
    if not pairs:
        raise ValueError('The results of this model cannot be compared: its data '
                         f'samples have none of {_RESULTS}.')
    error = max((a.float() - b.float()).abs().max() for a, b in pairs)
    scale = max(b.float().abs().max() for _, b in pairs)
    scored = [(a.pred_score, b.pred_score) for a, b in zip(samples, exact)
              if hasattr(b, 'pred_score')]
    changed = sum(bool((a.argmax(-1) != b.argmax(-1)).any()) for a, b in scored)
    return Difference(float(error / scale), len(scored), changed)


def make_fast(model: nn.Module, data: Any,
              bfloat16: Optional[bool] = None) -> Difference:
    """Make the inference of a trained model faster.

    A batch goes through it three times: as the model is, whose results it is compared
    with; with convolutions channels last and batch norms folded into them, which must
    give the same; and in bfloat16. The log says how far the last is from the first.

    Args:
        model: In evaluation mode; its data samples get a ``pred_score`` or a
            ``feature``. Changed in place, ``test_step`` included, for inference only.
        data: A batch as ``test_step`` takes it.
        bfloat16: Whether to compute in bfloat16. Default: where the device is
            faster with it.

    Returns:
        How far the results of the batch are from those of the model as it was.

    Raises:
        FoldingError: Results in float32 are not the same. The model is of no use then.
    """
    plain_step, exact = model.test_step, []
    device = next(model.parameters()).device
    if bfloat16 is None:
        bfloat16 = has_fast_bfloat16(device)
    folded = fold_batch_norms(
        model, lambda: exact.extend(plain_step(copy.deepcopy(data))))
    use_channels_last(model)
    with torch.no_grad():
        in_fp32 = result_difference(plain_step(copy.deepcopy(data)), exact)
    if not in_fp32.error <= _FP32_TOLERANCE:
        raise FoldingError(
            f'Without its {len(folded)} batch norms the model gives other results '
            f'in float32: a difference of {in_fp32.error:.1e} of the largest value. '
            'Do without --fast (fast=False).')

    def fast_step(data):
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            samples = plain_step(data)
        for sample in samples:  # metrics and numpy do not know bfloat16
            for name in _RESULTS:
                if isinstance(getattr(sample, name, None), Tensor):
                    setattr(sample, name, getattr(sample, name).float())
        return samples

    model.test_step = fast_step
    with torch.no_grad():
        found = result_difference(fast_step(copy.deepcopy(data)), exact)
    decisions = '' if not found.decisions else (
        f'; best class changed for {found.changed} of {found.decisions}')
    print_log(
        f'fast: {len(folded)} batch norms folded, channels last, '
        f'{"bfloat16" if bfloat16 else "float32"}; on one batch a difference of '
        f'{found.error:.1e} of the largest value{decisions}', 'current', logging.INFO)
    return found


def use_fast_inference(cfg: Config) -> None:
    """Have a test run of a config make its model fast.

    Hooks that average weights are left out: a checkpoint holds the average as the
    model's weights, and they would swap it with a copy that is not fast.
    """
    hooks = [hook for hook in cfg.get('custom_hooks') or ()
             if hook['type'] != 'EMAHook']
    cfg.custom_hooks = [*hooks, dict(type='FastInferenceHook')]

"""Steps of COSAM with gradients of their own, which pass over memory less often.

A pass over features that are new in memory costs several times one over features that
are there already: the pages have to be found first. Left alone, automatic
differentiation makes a new tensor of the features' size for every product and its
gradients. The steps here reuse the one they have.

They are parts of :mod:`cosam_mm.functional.cosam`, not for use by themselves: where a
gradient is changed in place, it is one that only the next of these steps has seen.
Gradients of gradients are possible; nothing is changed in place for them.
"""
from collections.abc import Iterator
from typing import Optional

import torch
from torch import Tensor
from torch.autograd.function import Function, FunctionCtx

__all__ = ['MaskAndPool', 'Standardize', 'WeighInPlace', 'has_own_gradients']

# Numbers in a block of a product that is summed at once: it stays in the cache.
BLOCK = 2**18


def has_own_gradients() -> bool:
    """Whether to use these steps: compilers and exporters want plain operations."""
    return not (torch.compiler.is_compiling() or torch.jit.is_tracing())


class Standardize(Function):
    """``y = (x - mean) / (std + eps)`` over dimension 1, of D channels.

    With c = x - mean, s = std + eps and std^2 = sum c^2 / (D - 1)::

        dL/dc = (g - y * k) / s,    k = sum(g * y) * s / ((D - 1) * std)
        dL/dx = dL/dc - its mean = (g - mean(g) - y * k) / s,    as y has no mean

    Where std is 0, y is 0 whatever its gradient, and k counts as 0.
    Statistics of 16-bit features are kept in float32.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, eps: float) -> Tensor:
        """Args: x, (N, D, ...)."""
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        centred = wide - wide.mean(1, keepdim=True)
        variance = centred.square().sum(1, keepdim=True) / (x.shape[1] - 1)
        std = variance.sqrt_()
        ctx.eps = eps
        y = centred.div_(std + eps).to(x.dtype)
        ctx.save_for_backward(x, y, std)
        return y

    @staticmethod
    def backward(ctx: FunctionCtx, g: Tensor) -> tuple[Tensor, None]:
        """Gradient of x."""
        x, y, std = ctx.saved_tensors
        if torch.is_grad_enabled():
            return _differentiable_standardize_gradient(x, g, ctx.eps), None
        scale = std + ctx.eps
        k = (g * y).sum(1, keepdim=True, dtype=std.dtype) * scale
        k = (k / (std * (x.shape[1] - 1))).masked_fill_(std == 0, 0)
        gradient = g - g.mean(1, keepdim=True, dtype=std.dtype)
        gradient.addcmul_(y.to(std.dtype), k, value=-1).div_(scale)
        return gradient.to(g.dtype), None


def _differentiable_standardize_gradient(x: Tensor, g: Tensor, eps: float) -> Tensor:
    std, mean = torch.std_mean(x, dim=1, keepdim=True)
    y = (x - mean) / (std + eps)
    gradient, = torch.autograd.grad(y, x, g, create_graph=True)
    return gradient


class MaskAndPool(Function):
    """``y = m * x`` and its average over places, which is made while y is at hand.

    With h and q the gradients of y and of the average, all that reaches y is
    z = h + q / P, so that::

        dL/dx = z * m,    dL/dm = sum over channels of z * x

    h, :class:`WeighInPlace`'s, turns into z and into dL/dx in place.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, m: Tensor) -> tuple[Tensor, Tensor]:
        """Args: x, (N, C, T, P); m, (N, T, P). Returns: y and (N, C, T)."""
        ctx.save_for_backward(x, m)
        y = x * m[:, None]
        return y, y.mean(3)

    @staticmethod
    def backward(ctx: FunctionCtx, h: Tensor, q: Tensor
                 ) -> tuple[Tensor, Optional[Tensor]]:
        """Gradients of x and m."""
        x, m = ctx.saved_tensors
        q = q[..., None] / x.shape[3]
        if torch.is_grad_enabled():
            z = h + q
            return z * m[:, None], (z * x).sum(1)
        z = h.add_(q)
        grad_m = torch.empty_like(m)
        for at, product in _products(z, x):
            torch.sum(product, 1, out=grad_m[at])
        return z.mul_(m[:, None]), grad_m


class WeighInPlace(Function):
    """``s * y`` in the memory of ``y = m * x``, which is not kept: x and m are.

    With g the gradient of the output::

        dL/dy = g * s,    dL/ds = sum over frames and places of g * m * x
    """

    @staticmethod
    def forward(ctx: FunctionCtx, y: Tensor, s: Tensor, x: Tensor, m: Tensor) -> Tensor:
        """Args: y and x, (N, C, T, P); s, (N, C); m, (N, T, P)."""
        ctx.mark_dirty(y)
        ctx.save_for_backward(s, x, m)
        return y.mul_(s[:, :, None, None])

    @staticmethod
    def backward(ctx: FunctionCtx, g: Tensor) -> tuple[Tensor, Tensor, None, None]:
        """Gradients of y and s. Those of x and m are in that of y."""
        s, x, m = ctx.saved_tensors
        if torch.is_grad_enabled():
            return (g * s[:, :, None, None], (g * x * m[:, None]).sum((2, 3)),
                    None, None)
        grad_s = torch.zeros_like(s)
        for at, product in _products(g, x):
            grad_s[at[0]] += product.mul_(m[at][:, None]).sum((2, 3))
        return g * s[:, :, None, None], grad_s, None, None


def _products(a: Tensor, b: Tensor) -> Iterator[tuple[tuple[slice, slice], Tensor]]:
    """Blocks of ``a * b``, (N, C, T, P), all in one memory: (clips, frames), block.

    On other devices than the CPU one block is all.
    """
    n, c, t, p = b.shape
    clips, frames = n, t
    if b.is_cpu:
        frames = min(t, max(1, BLOCK // (c * p)))
        clips = min(n, max(1, BLOCK // (c * t * p)))
    memory = None
    for i in range(0, n, clips):
        for j in range(0, t, frames):
            at = slice(i, i + clips), slice(j, j + frames)
            left, right = (v[at[0], :, at[1]] for v in (a, b))
            if memory is None or memory.shape != right.shape:
                memory = torch.empty_like(right)
            yield at, torch.mul(left, right, out=memory)

"""Steps of COSAM with gradients of their own, which pass over memory less often.

A pass over features that are new in memory costs several times one over features that
are there already: the pages have to be found first. Left alone, automatic
differentiation makes a new tensor of the features' size for every product and its
gradients. The steps here reuse the one they have.

They are parts of :mod:`.cosam_functional`, not for use by themselves: where a
gradient is changed in place, it is one that only the next of these steps has seen.
Gradients of gradients are possible; nothing is changed in place for them.
"""
from collections.abc import Iterator
from typing import Optional

import torch
from torch import Tensor
from torch.autograd.function import Function, FunctionCtx
from torch.nn import functional as F

__all__ = ['MaskAndPool', 'Project', 'Standardize', 'SummarizeInTurn', 'WeighInPlace',
           'has_own_gradients', 'summarize_at_once']

# Numbers in a block of a product that is summed at once: it stays in the cache.
BLOCK = 2**20
# Places of a map from which on a product by itself is as fast as a convolution.
LEAST_PLACES = 128
# Bytes up to which memory that was freed is used again, and its pages need not be found
# anew (glibc's largest threshold).
MOST_REUSED = 2**25


def has_own_gradients() -> bool:
    """Whether to use these steps: compilers and exporters want plain operations."""
    return not (torch.compiler.is_compiling() or torch.jit.is_tracing())


class Project(Function):
    """``Wx + b`` at every place, and x, to go on with.

    What reaches x on its way on is the memory that the projection's own part of its
    gradient is added to: ``dL/dx = W^T g + (what reaches x)``.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, weight: Tensor, bias: Tensor
                ) -> tuple[Tensor, Tensor]:
        """Args: x, (M, C, A, B); weight, (D, C, 1, 1); bias, (D,)."""
        ctx.save_for_backward(x, weight)
        return F.conv2d(x, weight, bias), x.view_as(x)

    @staticmethod
    def backward(ctx: FunctionCtx, g: Tensor, h: Tensor
                 ) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of x, weight and bias."""
        x, weight = ctx.saved_tensors
        in_place = not torch.is_grad_enabled() and _pays_in_place(h)
        grad_x, grad_weight, grad_bias = torch.ops.aten.convolution_backward(
            g, x, weight, weight.shape[:1], (1, 1), (0, 0), (1, 1), False, (0, 0), 1,
            (not in_place, True, True))
        if in_place:
            _add_projected(h, weight.flatten(1), g)
        else:
            h = h + grad_x if torch.is_grad_enabled() else h.add_(grad_x)
        return h, grad_weight, grad_bias


def _pays_in_place(h: Tensor) -> bool:
    """Whether a product in place is faster than a convolution and a sum."""
    if h.is_contiguous():
        return h.shape[2] * h.shape[3] >= LEAST_PLACES
    return (h.is_contiguous(memory_format=torch.channels_last)
            and h.numel() * h.element_size() > MOST_REUSED)


def _add_projected(h: Tensor, matrix: Tensor, g: Tensor) -> None:
    """Add matrix^T g to h, (M, C, A, B), in either layout."""
    if h.is_contiguous():
        turned = matrix.t().expand(len(h), -1, -1)                # (M, C, D)
        h.flatten(2).baddbmm_(turned, g.flatten(2))
    else:
        rows = g.permute(0, 2, 3, 1).reshape(-1, g.shape[1])      # (L, D)
        h.permute(0, 2, 3, 1).flatten(0, 2).addmm_(rows, matrix)


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


class SummarizeInTurn(Function):
    """Summary maps without a bias, one frame's template after the other.

    The products of :func:`.cosam_functional.summarize_cost_volume`, each added
    where the running sum stands, instead of all at once and summed afterwards. With g_n
    the gradient of frame n's map, ``S_n = sum_{m>=n} R_m g_m^T / D`` reaches all that
    T_n holds, so that slot j's weights get ``S_{j+1}`` by way of frame j and
    ``S_0 - S_{j+1}`` by way of frame j + 1; and so do these frames by way of them.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, descriptors: Tensor, weight: Tensor) -> Tensor:
        """Args: descriptors, (N, D, T, P); weight, (K, (T - 1) * P)."""
        n, d, t, p = descriptors.shape
        k = weight.shape[0]
        rows = descriptors.permute(2, 0, 1, 3).contiguous().view(t, n * d, p)
        slots = weight.view(k, t - 1, p).permute(1, 2, 0)         # (T-1, P, K)
        templates = rows.new_empty(t, n * d, k)
        torch.mm(descriptors.reshape(n * d, t * p)[:, p:], weight.t(), out=templates[0])
        for j in range(t - 1):
            torch.addmm(templates[j], rows[j] - rows[j + 1], slots[j],
                        out=templates[j + 1])
        ctx.save_for_backward(descriptors, rows, weight, templates)
        maps = torch.bmm(templates.view(t * n, d, k).transpose(1, 2),
                         rows.view(t * n, d, p)).div_(d)
        return maps.view(t, n, k, p).permute(1, 2, 0, 3)

    @staticmethod
    def backward(ctx: FunctionCtx, g: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of descriptors and weight."""
        descriptors, rows, weight, templates = ctx.saved_tensors
        if torch.is_grad_enabled():
            maps = summarize_at_once(descriptors, weight)
            return torch.autograd.grad(maps, (descriptors, weight), g,
                                       create_graph=True)
        n, d, t, p = descriptors.shape
        k = weight.shape[0]
        slots = weight.view(k, t - 1, p).transpose(0, 1)          # (T-1, K, P)
        g = (g / d).permute(2, 0, 1, 3).reshape(t * n, k, p)
        sums = torch.bmm(rows.view(t * n, d, p), g.transpose(1, 2)).view(t, n * d, k)
        for j in reversed(range(t - 1)):
            sums[j] += sums[j + 1]
        later = sums[1:]
        rest = sums[0] - later
        grad_rows = torch.bmm(templates.view(t * n, d, k), g).view(t, n * d, p)
        grad_rows[:-1].baddbmm_(later, slots)
        grad_rows[1:].baddbmm_(rest, slots)
        grad_slots = torch.bmm(later.transpose(1, 2), rows[:-1])  # (T-1, K, P)
        grad_slots.baddbmm_(rest.transpose(1, 2), rows[1:])
        return (grad_rows.view(t, n, d, p).permute(1, 2, 0, 3),
                grad_slots.transpose(0, 1).flatten(1))


def summarize_at_once(descriptors: Tensor, weight: Tensor) -> Tensor:
    """Summary maps without a bias by plain operations.

    All products at once, then their running sum: for compilers and exporters, for 16
    bits, and for devices that prefer few large products to many small ones.
    """
    n, d, t, p = descriptors.shape
    k = weight.shape[0]
    rows = descriptors.reshape(n * d, t, p).transpose(0, 1)        # (T, N*D, P)
    slots = weight.view(k, t - 1, p).permute(1, 2, 0)              # (T-1, P, K)
    moves = torch.bmm(rows[:-1] - rows[1:], slots)                 # (T-1, N*D, K)
    # 16-bit products are summed in float32, as they are within a product.
    wide = torch.promote_types(moves.dtype, torch.float32)
    first = torch.bmm(rows[1:], slots).sum(0, keepdim=True, dtype=wide)
    template = torch.cat([first, moves.to(wide)]).cumsum(0) / d    # (T, N*D, K)
    template = template.to(moves.dtype).view(t * n, d, k).transpose(1, 2)
    frames = descriptors.permute(2, 0, 1, 3).reshape(t * n, d, p)
    return torch.bmm(template, frames).view(t, n, k, p).permute(1, 2, 0, 3)


class MaskAndPool(Function):
    """``y = m * x`` and its average over places, which is made while y is at hand.

    With h and q the gradients of y and of the average, all that reaches y is
    z = h + q / P, so that::

        dL/dx = z * m,    dL/dm = sum over channels of z * x

    h, :class:`WeighInPlace`'s, turns into z and into dL/dx in place.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, m: Tensor) -> tuple[Tensor, Tensor]:
        """Args: x, (N, C, T, P); m, (N, T, P). Returns: y and (N, T, C)."""
        ctx.save_for_backward(x, m)
        y = x * m[:, None]
        # With the channels last in both, torch adds many of them at once.
        return y, y.transpose(1, 2).mean(3)

    @staticmethod
    def backward(ctx: FunctionCtx, h: Tensor, q: Tensor
                 ) -> tuple[Tensor, Optional[Tensor]]:
        """Gradients of x and m."""
        x, m = ctx.saved_tensors
        q = q.transpose(1, 2)[..., None] / x.shape[3]             # (N, C, T, 1)
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

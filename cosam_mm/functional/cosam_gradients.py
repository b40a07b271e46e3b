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

import torch
from torch import Tensor
from torch.autograd.function import Function, FunctionCtx
from torch.nn import functional as F

__all__ = ['PoolMasked', 'Project', 'Standardize', 'SummarizeInTurn', 'Weigh',
           'has_own_gradients', 'summarize_at_once']

# Numbers in a block of a product that is summed at once: it stays in the cache.
BLOCK = 2**18
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

    The products of :func:`~cosam_mm.functional.cosam.summarize_cost_volume`, each added
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
        slots = weight.view(k, t - 1, p)
        g = (g / d).permute(2, 0, 1, 3).reshape(t * n, k, p)
        sums = torch.bmm(rows.view(t * n, d, p), g.transpose(1, 2)).view(t, n * d, k)
        for j in reversed(range(t - 1)):
            sums[j] += sums[j + 1]
        grad_rows = torch.bmm(templates.view(t * n, d, k), g).view(t, n * d, p)
        grad_weight = torch.empty_like(slots)
        for j in range(t - 1):
            rest = sums[0] - sums[j + 1]
            grad_rows[j].addmm_(sums[j + 1], slots[:, j])
            grad_rows[j + 1].addmm_(rest, slots[:, j])
            grad_weight[:, j] = torch.mm(sums[j + 1].t(), rows[j]).addmm_(
                rest.t(), rows[j + 1])
        return grad_rows.view(t, n, d, p).permute(1, 2, 0, 3), grad_weight.flatten(1)


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


class PoolMasked(Function):
    """The average over places of ``m * x``, and x and m, to go on with.

    The masked features are made block by block, in memory that stays in the cache, and
    are not kept. With q the gradient of the average and h and k what reaches x and m on
    their way on, which are :class:`Weigh`'s::

        dL/dx = h + q * m / P,    dL/dm = k + sum over channels of q * x / P

    h turns into dL/dx in place, and k into dL/dm.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, m: Tensor
                ) -> tuple[Tensor, Tensor, Tensor]:
        """Args: x, (N, C, T, P); m, (N, T, P). Returns: (N, C, T), x and m."""
        ctx.save_for_backward(x, m)
        pooled = x.new_empty(x.shape[:3])
        for (i, j), masked in _products(x, m[:, None]):
            torch.mean(masked, 3, out=pooled[i, :, j])
        return pooled, x.view_as(x), m.view_as(m)

    @staticmethod
    def backward(ctx: FunctionCtx, q: Tensor, h: Tensor, k: Tensor
                 ) -> tuple[Tensor, Tensor]:
        """Gradients of x and m."""
        x, m = ctx.saved_tensors
        q = q[..., None] / x.shape[3]
        if torch.is_grad_enabled():
            return h + q * m[:, None], k + (q * x).sum(1)
        for (i, j), product in _products(x, q):
            k[i, j] += product.sum(1)
            h[i, :, j].addcmul_(q[i, :, j], m[i, None, j])
        return h, k


class Weigh(Function):
    """``x * m * s``, behind :class:`PoolMasked`.

    With g the gradient of the output::

        dL/dx = g * m * s,    dL/dm = sum over channels of g * x * s,
        dL/ds = sum over frames and places of g * x * m
    """

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, m: Tensor, s: Tensor) -> Tensor:
        """Args: x, (N, C, T, P); m, (N, T, P); s, (N, C)."""
        ctx.save_for_backward(x, m, s)
        return _weighed(x, m, s)

    @staticmethod
    def backward(ctx: FunctionCtx, g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of x, m and s."""
        x, m, s = ctx.saved_tensors
        weight = s[:, :, None, None]
        if torch.is_grad_enabled():
            both = g * x
            return (g * m[:, None] * weight, (both * weight).sum(1),
                    (both * m[:, None]).sum((2, 3)))
        grad_x, grad_m = torch.empty_like(x), torch.empty_like(m)
        grad_s = torch.zeros_like(s)
        for (i, j), product in _products(g, x):
            part = grad_x[i, :, j]
            torch.mul(product, m[i, None, j], out=part)
            grad_s[i] += part.sum((2, 3))
            torch.sum(product.mul_(weight[i]), 1, out=grad_m[i, j])
            torch.mul(g[i, :, j], m[i, None, j], out=part).mul_(weight[i])
        return grad_x, grad_m, grad_s


def _weighed(x: Tensor, m: Tensor, s: Tensor) -> Tensor:
    """``x * m * s``, its second product while a block of the first is in the cache."""
    out = torch.empty_like(x)
    for i, j in _blocks(x):
        torch.mul(x[i, :, j], m[i, None, j], out=out[i, :, j])
        out[i, :, j].mul_(s[i, :, None, None])
    return out


def _blocks(x: Tensor) -> Iterator[tuple[slice, slice]]:
    """Clips and frames of blocks of x, (N, C, T, P), that fit into the cache.

    On other devices than the CPU one block is all.
    """
    n, c, t, p = x.shape
    clips, frames = n, t
    if x.is_cpu:
        frames = min(t, max(1, BLOCK // (c * p)))
        clips = min(n, max(1, BLOCK // (c * t * p)))
    for i in range(0, n, clips):
        for j in range(0, t, frames):
            yield slice(i, i + clips), slice(j, j + frames)


def _products(a: Tensor, b: Tensor) -> Iterator[tuple[tuple[slice, slice], Tensor]]:
    """Blocks of ``a * b``, (N, C, T, P), all in one memory: (clips, frames), block.

    Args:
        a: Of that shape.
        b: May be broadcast over channels, or over places.
    """
    memory = None
    for i, j in _blocks(a):
        left, right = a[i, :, j], b[i, :, j]
        if memory is None or memory.shape != left.shape:
            memory = torch.empty_like(left)
        yield (i, j), torch.mul(left, right, out=memory)

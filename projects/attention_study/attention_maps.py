"""Maps of where a model looks, recorded in one pass over a video.

README.md lists them. Those of COSAMs and of MMCV's non-local blocks (Wang et al.,
Non-local Neural Networks, CVPR 2018) stand where such a module is. Grad-CAM and energy
stand there, too: they are of the features that the module gets, before it has changed
them. Of any other module that is named, they are of its output.

What Grad-CAM explains is, in action recognition, the highest class score. A test
person of re-identification has no class: it is the similarity (inner product) of the
tracklet's feature with itself, so that those positions count which make up the feature.
"""
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from itertools import compress
from typing import Any, NamedTuple, Optional

import torch
from torch import Tensor, nn

from cosam_mm.layers import COSAM
from cosam_mm.layers.mask_recording import record_masks
from cosam_mm.models.reid import VideoReID

MAPS = ('cosam', 'nonlocal', 'grad_cam', 'feature_energy', 'centre')
_OF_FEATURES = ('grad_cam', 'feature_energy')
_MODES = ('embedded_gaussian', 'dot_product')


class AttentionMap(NamedTuple):
    """Names a map."""
    kind: str      # one of MAPS
    module: str    # its name in the model; '' for the centre


def attention_modules(model: nn.Module) -> list[str]:
    """Names of a model's COSAMs and non-local blocks.

    Example:
        >>> attention_modules(nn.Sequential(nn.Identity(), COSAM(8, 4, (2, 2))))
        ['1']
    """
    return [name for name, module in model.named_modules()
            if isinstance(module, (COSAM, *_non_local_kinds()))]


def offered_maps(model: nn.Module, layers: Optional[Sequence[str]] = None) -> list[str]:
    """Kinds of maps that can be made of a model.

    ``layers`` are the modules whose features count; by default the attention's.
    """
    modules = list(model.modules())
    has_features = bool(attention_modules(model) if layers is None else layers)
    is_offered = (any(isinstance(m, COSAM) and m.with_spatial for m in modules),
                  any(isinstance(m, _non_local_kinds()) for m in modules),
                  has_features, has_features, True)
    return list(compress(MAPS, is_offered))


def record_attention(model: nn.Module, batch: Mapping, num_clips: int,
                     kinds: Sequence[str], layers: Optional[Sequence[str]] = None
                     ) -> dict[AttentionMap, Tensor]:
    """Run a model on one video and record its maps.

    Args:
        model: In evaluation mode; for Grad-CAM as for :func:`decision_score`.
        batch: One sample, as its data loader collates it.
        num_clips: Clips M that the video was cut into.
        kinds: Some of :data:`MAPS`.
        layers: Names of the modules whose features ``grad_cam`` and
            ``feature_energy`` are of. Default: COSAMs and non-local blocks.

    Returns:
        Maps (M, T', h, w), float32, on the CPU, in the order of ``kinds``. The centre
        is (M, 1, H, W), as large as the frames that the network sees.

    Raises:
        ValueError: An unknown kind or layer; the model offers no such map; or features
            that are no clips or frames.
    """
    _check_kinds(model, kinds, layers)
    layers = attention_modules(model) if layers is None else layers
    of_features = layers if set(kinds) & set(_OF_FEATURES) else []
    with ExitStack() as hooks:
        masks = hooks.enter_context(record_masks(model)) if 'cosam' in kinds else None
        received = hooks.enter_context(
            _record_non_local(model) if 'nonlocal' in kinds else nullcontext({}))
        features = hooks.enter_context(
            _record_features(model, of_features, 'grad_cam' in kinds))
        inputs, gradients = _run(model, batch, features, 'grad_cam' in kinds)
    clips, slopes, sums = ({
        name: _clips(torch.cat(passes), name, num_clips)
        for name, passes in recorded.items()}
        for recorded in (features, gradients, received))
    centre = centre_prior(*inputs[0].shape[-2:]).expand(num_clips, 1, -1, -1)
    found = {
        'cosam': {name: both.spatial for name, both in (
            masks.masks() if masks is not None else {}).items()
            if both.spatial is not None},
        'nonlocal': {name: x[:, 0] for name, x in sums.items()},
        'grad_cam': {name: grad_cam(clips[name], x) for name, x in slopes.items()},
        'feature_energy': {name: x.square().mean(1) for name, x in clips.items()},
        'centre': {'': centre}}
    return {AttentionMap(kind, module): values.detach()[:num_clips].float().cpu()
            for kind in kinds for module, values in found[kind].items()}


def decision_score(model: nn.Module, inputs: Any) -> Tensor:
    """What a model decides for one video, as a scalar to take gradients of.

    Args:
        model: A recogniser of MMAction2: the highest class score, the mean over views,
            before any softmax. Or a ``VideoReID``: the sum of squares of the feature.
        inputs: What its preprocessor has made of one sample.

    Raises:
        ValueError: It is another kind of model, or its head gives no class scores.
    """
    if isinstance(model, VideoReID):
        return model.extract_feat(inputs).square().sum()
    if not hasattr(model, 'cls_head'):
        raise ValueError(
            f'Grad-CAM explains recognisers of MMAction2 and VideoReID, not '
            f'{type(model).__name__}: leave grad_cam out.')
    scores = model(inputs, mode='tensor', stage='head')
    if not isinstance(scores, Tensor) or scores.dim() != 2:
        raise ValueError(f'{type(model.cls_head).__name__} gives no scores (views, '
                         'classes) that Grad-CAM could explain: leave grad_cam out.')
    return scores.mean(0).max()


# -- maps of features ----------------------------------------------------------


def grad_cam(features: Tensor, gradients: Tensor) -> Tensor:
    """Grad-CAM (Selvaraju et al., ICCV 2017, equations 1 and 2) of clips.

    A channel's weight is the mean of its gradient over all positions of the clip, its
    frames included.

    Args:
        features: (M, C, T, H, W).
        gradients: Likewise, of the score with respect to the features.

    Returns:
        (M, T, H, W), 0 and above.
    """
    weights = gradients.mean((2, 3, 4), keepdim=True)           # (M, C, 1, 1, 1)
    return (weights * features).sum(1).relu()                   # (M, T, H, W)


def centre_prior(height: int, width: int, spread: float = 0.25) -> Tensor:
    """A Gaussian in the middle of an image: (height, width), at most 1.

    ``spread`` is its standard deviation as a share of each side.
    """
    y, x = (((torch.arange(side) + 0.5) / side - 0.5) / spread
            for side in (height, width))
    return torch.exp(-0.5 * (y[:, None].square() + x.square()))


# -- recording -----------------------------------------------------------------


def _check_kinds(model: nn.Module, kinds: Sequence[str],
                 layers: Optional[Sequence[str]]) -> None:
    """Refuse layers and maps that a model does not have."""
    names = {name for name, _ in model.named_modules()} - {''}
    for name in layers or ():
        if name not in names:
            raise ValueError(f'There is no module {name!r} in this '
                             f'{type(model).__name__}: tools/analysis_tools/'
                             'list_layers.py lists those of its backbone.')
    offered = offered_maps(model, layers)
    for kind in kinds:
        if kind not in MAPS:
            raise ValueError(f'A map must be one of {", ".join(MAPS)}, got {kind!r}.')
        if kind not in offered:
            missing = {'cosam': 'COSAM with a spatial mask',
                       'nonlocal': 'NonLocal2d or NonLocal3d'}
            raise ValueError(f'There is no map {kind!r}: this {type(model).__name__} '
                             f'has no {missing.get(kind, "attention: name layers")}.')


def _run(model: nn.Module, batch: Mapping, features: Mapping[str, list[Tensor]],
         with_gradients: bool) -> tuple[Any, dict[str, list[Tensor]]]:
    """The inputs of the network, and the gradients of all features."""
    batch = model.data_preprocessor(dict(batch), False)
    if not with_gradients:
        with torch.no_grad():
            model(**batch, mode='predict')
        return batch['inputs'], {}
    with torch.enable_grad():
        score = decision_score(model, batch['inputs'])
    wanted = [x for passes in features.values() for x in passes]
    found = iter(torch.autograd.grad(score, wanted, allow_unused=True))
    gradients = {name: [next(found) for _ in passes]
                 for name, passes in features.items()}
    for name, passes in gradients.items():
        if any(gradient is None for gradient in passes):
            raise ValueError(f'The decision does not depend on {name}: Grad-CAM has '
                             'nothing to show there.')
    return batch['inputs'], gradients


def _clips(x: Tensor, name: str, num_clips: int) -> Tensor:
    """(M, C, T, h, w) of clips like that, or of frames (M*T, C, h, w)."""
    if x.dim() == 5 and len(x) >= num_clips:
        return x
    if x.dim() == 4 and len(x) % num_clips == 0:
        return x.unflatten(0, (num_clips, -1)).transpose(1, 2)
    raise ValueError(
        f'Features must be (N, C, T, H, W) of {num_clips} clip(s), or (N*T, C, H, W) '
        f'of their frames; those of {name} are {tuple(x.shape)}.')


@contextmanager
def _record_features(model: nn.Module, layers: Sequence[str], with_gradients: bool
                     ) -> Iterator[dict[str, list[Tensor]]]:
    """Input of attention modules, output of others, by name, pass by pass."""
    found: dict[str, list[Tensor]] = {name: [] for name in layers}
    attention = set(attention_modules(model))

    def keep(name: str, x: Any) -> Tensor:
        x = x[0] if isinstance(x, (tuple, list)) else x
        if with_gradients and not x.requires_grad:  # all below is frozen
            x = x.detach().requires_grad_()
        found[name].append(x)
        # What comes next may work in place.
        return x.clone()

    def hook(name: str, module: nn.Module):
        if name in attention:
            return module.register_forward_pre_hook(
                lambda _, args: (keep(name, args[0]), *args[1:]))
        return module.register_forward_hook(
            lambda _, args, out: keep(name, out) if isinstance(out, Tensor)
            else type(out)([keep(name, out), *out[1:]]))

    modules = dict(model.named_modules())
    with ExitStack() as hooks:
        for name in layers:
            hooks.callback(hook(name, modules[name]).remove)
        yield found


@contextmanager
def _record_non_local(model: nn.Module) -> Iterator[dict[str, list[Tensor]]]:
    """Attention received, (N, 1, T, h, w) or (N, 1, h, w), by name, pass by pass."""
    blocks = {name: module for name, module in model.named_modules()
              if isinstance(module, _non_local_kinds())}
    found: dict[str, list[Tensor]] = {name: [] for name in blocks}
    parts: dict[str, dict[str, Tensor]] = {name: {} for name in blocks}

    def keep_part(name: str, part: str):
        def keep(_, args, output):
            parts[name][part] = output.detach()
        return keep

    def keep_sums(name: str):
        def keep(module, args, output):
            theta, phi = parts[name]['theta'], parts[name]['phi']
            with torch.no_grad():
                weights = getattr(module, module.mode)(
                    theta.flatten(2).transpose(1, 2), phi.flatten(2))
            # What each position adds to all others: sums over those that listen.
            found[name].append(weights.sum(1).unflatten(1, phi.shape[2:])[:, None])
        return keep

    with ExitStack() as hooks:
        for name, module in blocks.items():
            if module.mode not in _MODES:
                raise ValueError(f'Attention is recorded of non-local blocks of mode '
                                 f'{" or ".join(_MODES)}; {name} is of mode '
                                 f'{module.mode!r}: leave nonlocal out.')
            for handle in (*(getattr(module, part).register_forward_hook(
                    keep_part(name, part)) for part in ('theta', 'phi')),
                    module.register_forward_hook(keep_sums(name))):
                hooks.callback(handle.remove)
        yield found


def _non_local_kinds() -> tuple[type, ...]:
    """MMCV's non-local blocks over positions; none where it is not installed."""
    try:
        from mmcv.cnn import NonLocal2d, NonLocal3d
    except ImportError:
        return ()
    return NonLocal2d, NonLocal3d

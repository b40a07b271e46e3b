"""Models of timm and torchvision by name, as features, the way MMAction2 takes them.

Its recognisers use what comes before the classifier. A backbone that such a model
becomes here does the same by itself, so that it serves any project.
"""
from typing import Any, Optional

from torch import Tensor, nn

__all__ = ['LibraryFeatures', 'build_library_model', 'is_library_name']


def is_library_name(kind: Any) -> bool:
    """Whether a type names a model of timm or torchvision."""
    return isinstance(kind, str) and kind.startswith(('timm.', 'torchvision.'))


def build_library_model(cfg: dict) -> nn.Module:
    """Build ``timm.<model>`` or ``torchvision.<model>`` without its classifier.

    Args:
        cfg: ``type``, the arguments of the model, and optionally ``feature_shape``,
            see :class:`LibraryFeatures`.

    Raises:
        ImportError: The library is not installed.
        ValueError: It has no such model, or there is no such ``feature_shape``.
    """
    settings = dict(cfg)
    library, name = settings.pop('type').split('.', 1)
    feature_shape = settings.pop('feature_shape', None)
    if feature_shape not in (None, 'NCHW', 'NHWC', 'NLC'):
        raise ValueError(f'feature_shape must be NCHW, NHWC or NLC, got '
                         f'{feature_shape!r}.')
    build = _timm_model if library == 'timm' else _torchvision_model
    network = build(name, settings)
    network.feature_shape = feature_shape
    return network


def _timm_model(name: str, settings: dict) -> nn.Module:
    import timm
    if not timm.is_model(name.split('.')[0]):
        near = timm.list_models(f'*{name[:6]}*')[:5]
        raise ValueError(f'timm has no model {name!r}; near it are '
                         f'{", ".join(near) or "none"}. timm.list_models() lists all.')
    if not settings.get('features_only'):
        settings.setdefault('num_classes', 0)
    return timm.create_model(name, **settings)


def _torchvision_model(name: str, settings: dict) -> nn.Module:
    import torchvision.models
    build = vars(torchvision.models).get(name)
    if not callable(build) or not name.islower():
        raise ValueError(f'torchvision has no model {name!r}; '
                         'torchvision.models.list_models() lists all.')
    network = build(**settings)
    for classifier in ('fc', 'classifier', 'heads', 'head'):
        if isinstance(getattr(network, classifier, None), nn.Module):
            setattr(network, classifier, nn.Identity())
    return network


class LibraryFeatures(nn.Module):
    """The features of a model of a library, as a map (M, C, H, W).

    ``feature_shape`` says how the model puts them out: ``NCHW``, ``NHWC``, or
    ``NLC``, whose L tokens are averaged. Default: ``NLC`` for three dimensions,
    ``NCHW`` for four. Pooled features, (M, C), and lists become what they are with
    H = W = 1 and the same lists.
    """

    feature_shape: Optional[str]

    def forward(self, x: Tensor) -> Any:
        """(M, 3, H, W) to (M, C, H', W')."""
        features = (getattr(self, 'forward_features', None)
                    or getattr(self, 'features', None) or super().forward)(x)
        if not isinstance(features, Tensor):
            return features
        if features.dim() == 3:
            features = features.mean(1)                          # (M, C)
        if features.dim() == 2:
            return features[:, :, None, None]                    # (M, C, 1, 1)
        if self.feature_shape == 'NHWC':
            return features.permute(0, 3, 1, 2)
        return features

    def init_weights(self, *args, **kwargs) -> None:
        """Nothing: the library did it when it built the model."""

"""ImageNet weights by name: ``checkpoint='imagenet://resnet50'``.

mmengine has such a scheme for torchvision, which needs that package, and loads
plain addresses in a way that runs whatever code a pickle holds. Here tensors alone
are unpickled, and a file must have the checksum that its name ends in: one of the
two servers offers no encryption.
"""
import sys
from functools import partial
from pathlib import Path
from typing import Optional

import torch
from mmengine.dist import barrier, get_rank
from mmengine.runner import CheckpointLoader
from torch import Tensor

__all__ = ['IMAGENET_WEIGHTS', 'load_imagenet']

_SCHEME = 'imagenet://'

# Names of the parameters are those of FrameResNet and FrameSEResNet.
IMAGENET_WEIGHTS = {
    'resnet50': 'https://download.pytorch.org/models/resnet50-0676ba61.pth',
    'se_resnet50':
        'http://data.lip6.fr/cadene/pretrainedmodels/se_resnet50-ce0d4300.pth',
    'resnet50_ibn_a':
        'https://github.com/XingangPan/IBN-Net/releases/download/v1.0/'
        'resnet50_ibn_a-d9d0bb7b.pth',
}


@CheckpointLoader.register_scheme(prefixes=_SCHEME)
def load_imagenet(filename: str, map_location: Optional[str] = None
                  ) -> dict[str, Tensor]:
    """Read the tensors of a weight file, which is downloaded the first time.

    Args:
        filename: ``imagenet://`` and a key of ``IMAGENET_WEIGHTS``.
        map_location: As in ``torch.load``.

    Raises:
        ValueError: There are no such weights.
        OSError: They cannot be downloaded, or arrive changed.
    """
    name = filename[len(_SCHEME):]
    if name not in IMAGENET_WEIGHTS:
        raise ValueError(f'There are no weights {filename!r}; known are '
                         f'{", ".join(_SCHEME + known for known in IMAGENET_WEIGHTS)}.')
    url, folder = IMAGENET_WEIGHTS[name], Path(torch.hub.get_dir(), 'checkpoints')
    load = partial(torch.hub.load_state_dict_from_url, url, map_location=map_location,
                   check_hash=True, progress=sys.stderr.isatty(), weights_only=True)
    try:
        weights = load() if get_rank() == 0 else None
        barrier()  # the other processes of this machine find the file in the cache
        return load() if weights is None else weights
    except (OSError, RuntimeError) as error:
        raise OSError(
            f'The ImageNet weights could not be had from {url} ({error}). Download '
            f'the file elsewhere and put it into {folder}, or train without it: '
            '--cfg-options model.backbone.init_cfg=None.') from error

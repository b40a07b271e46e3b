"""Pictures of a clip and its masks."""
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Optional

import numpy as np
from matplotlib.figure import Figure

from .channel_masks import channel_figure
from .mask_clip import AFTER, BEFORE, MaskedClip
from .mask_overlay import MaskLayer, mask_grid, mask_video
from .mask_placement import WHOLE_FRAME

__all__ = ['channel_picture', 'choose_layers', 'grid_picture', 'layer_titles',
           'mask_layers', 'video_pictures']


def layer_titles(names: Iterable[str]) -> dict[str, str]:
    """Short names of modules.

    >>> layer_titles(['backbone.plugins.after_layer3.0', 'neck.attention'])
    {'backbone.plugins.after_layer3.0': 'after_layer3', 'neck.attention': 'neck.attention'}
    """  # noqa: E501
    names = list(names)
    titles = [re.sub(r'\.0$', '', name.rpartition('plugins.')[2])
              if 'plugins.' in name else name for name in names]
    return {name: title if titles.count(title) == 1 else name
            for name, title in zip(names, titles)}


def choose_layers(names: Sequence[str], wanted: Optional[Sequence[str]] = None
                  ) -> list[str]:
    """The modules whose names contain one of the words.

    Args:
        names: Of all modules.
        wanted: Words; None for all modules.

    Raises:
        ValueError: A word is in no name.
    """
    for word in wanted or ():
        if not any(word in name for name in names):
            raise ValueError(f'No COSAM of this model is named {word!r}: there is '
                             f'{", ".join(names)}.')
    return [name for name in names
            if wanted is None or any(word in name for word in wanted)]


def _names(clip: MaskedClip, wanted: Optional[Sequence[str]]) -> list[str]:
    return choose_layers(list(next(iter(clip.masks.values()))), wanted)


def mask_layers(clip: MaskedClip, wanted: Optional[Sequence[str]] = None
                ) -> list[MaskLayer]:
    """The spatial masks of a clip as layers to draw, states of one next to each other.

    Args:
        clip: The clip.
        wanted: See :func:`choose_layers`.

    Returns:
        Empty, where no module makes a spatial mask.
    """
    names = _names(clip, wanted)
    titles = layer_titles(names)
    return [MaskLayer(titles[name], masks[name].spatial, state)
            for name in names for state, masks in clip.masks.items()
            if masks[name].spatial is not None]


def _note(layers: Sequence[MaskLayer], ranges: str, is_cropped: bool) -> str:
    height, width = layers[0].masks.shape[1:]
    sizes = {layer.masks.shape[1:] for layer in layers}
    size = f'Masks of {height} x {width} places' if len(sizes) == 1 else 'Masks'
    range_said = 'one range of colours for all' if ranges == 'common' \
        else 'a range of colours for each layer'
    unseen = ' Grey: not seen by the network.' if is_cropped else ''
    return (f'{size}, {range_said}. Beside each name: its smallest and largest value.'
            f'{unseen}')


def grid_picture(clip: MaskedClip, wanted: Optional[Sequence[str]] = None,
                 columns: int = 8, **options) -> np.ndarray:
    """One picture of frames and masks.

    Args:
        clip: The clip, of which at least one module makes a spatial mask.
        wanted: See :func:`choose_layers`.
        columns: Frames to show at most.
        options: ``ranges``, ``alpha`` and ``side`` of
            :func:`~cosam_mm.visualization.mask_overlay.mask_grid`.

    Returns:
        (H, W, 3) uint8, RGB.
    """
    layers = mask_layers(clip, wanted)
    return mask_grid(clip.frames, layers, title=clip.name,
                     note=_note(layers, options.get('ranges', 'common'),
                                clip.box != WHOLE_FRAME),
                     numbers=clip.numbers, box=clip.box, columns=columns, **options)


def video_pictures(clip: MaskedClip, wanted: Optional[Sequence[str]] = None,
                   **options) -> Iterator[np.ndarray]:
    """The pictures of a video, one for each frame of the clip.

    Args:
        clip: As for :func:`grid_picture`, and so is ``wanted``.
        options: Of :func:`~cosam_mm.visualization.mask_overlay.mask_video`.
    """
    return mask_video(clip.frames, mask_layers(clip, wanted), title=clip.name,
                      numbers=clip.numbers, box=clip.box, **options)


def channel_picture(clip: MaskedClip, wanted: Optional[Sequence[str]] = None,
                    num_named: int = 10) -> Optional[Figure]:
    """Bars of the channel masks; None where no module makes one.

    Args:
        clip: The clip.
        wanted: See :func:`choose_layers`.
        num_named: Channels to name.
    """
    names = _names(clip, wanted)
    titles = layer_titles(names)

    def channels(state: str) -> Mapping[str, np.ndarray]:
        return {titles[name]: clip.masks[state][name].channel for name in names
                if clip.masks[state][name].channel is not None}

    is_pair = BEFORE in clip.masks
    after = channels(AFTER if is_pair else next(iter(clip.masks)))
    if not after:
        return None
    return channel_figure(after, channels(BEFORE) if is_pair else None, clip.name,
                          num_named)

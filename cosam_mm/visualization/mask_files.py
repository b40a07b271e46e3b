"""Files of a clip's masks: grid image, video, and a plot of the channel masks."""
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from mmengine.logging import print_log

from cosam_mm.utils.io import writing

from . import mask_overlay
from .canvas import shorten
from .mask_maps import AFTER, BEFORE, MaskedClip
from .style import BLUE, GREY, encode_image, figure_png, new_figure, plain_text, style
from .video_writer import VIDEO_KINDS, encode_video

__all__ = ['FORMATS', 'output_names', 'playing_speed', 'plot_channel_masks',
           'write_masks']

FORMATS = (*VIDEO_KINDS, 'both')
_MAX_FPS = 10.  # masks change too fast to follow beyond that


def plot_channel_masks(clip: MaskedClip, wanted: Optional[Sequence[str]] = None,
                       num_named: int = 10) -> Optional[Figure]:
    """Plot how far the frames of a clip agree on each channel.

    A row for each layer: all channels by falling value, and the ``num_named`` highest
    ones by number. Values before training are marked at the same channels. ``wanted``
    is that of :func:`.choose_layers`. None if no module makes a channel mask.
    """
    names = mask_overlay.choose_layers(list(next(iter(clip.masks.values()))), wanted)
    after = clip.masks.get(AFTER) or next(iter(clip.masks.values()))
    shown = {name: title for name, title in mask_overlay.layer_titles(names).items()
             if after[name].channel is not None}
    if not shown:
        return None
    with style():
        figure = new_figure(7.5, 0.4 * bool(clip.name) + 2.6 * len(shown))
        if clip.name:
            figure.suptitle(plain_text(shorten(clip.name, 900, 16, True)), fontsize=11,
                            fontweight='bold', x=0.01, ha='left')
        rows = figure.subplots(len(shown), 2, squeeze=False,
                               gridspec_kw=dict(width_ratios=(3, 2)))
        for (left, right), (name, title) in zip(rows, shown.items()):
            mask = after[name].channel
            left.set(title=plain_text(title), xlabel=f'{len(mask)} channels, sorted',
                     ylabel='channel mask', ylim=(0, 1), xlim=(0, len(mask)))
            _plot_channels(left, right, mask, clip.masks[BEFORE][name].channel
                           if BEFORE in clip.masks else None, num_named)
        if BEFORE in clip.masks:
            rows[0][0].legend(loc='upper right')
    return figure


def _plot_channels(left: Axes, right: Axes, mask: np.ndarray,
                   before: Optional[np.ndarray], num_named: int) -> None:
    """Steps of all channels by falling value, and bars of the highest with numbers."""
    edges, top = np.arange(len(mask) + 1), np.argsort(-mask, kind='stable')[:num_named]
    rows = np.arange(len(top))
    left.stairs(np.sort(mask)[::-1], edges, fill=True, color=BLUE, alpha=0.85,
                label=AFTER)
    right.barh(rows, mask[top], color=BLUE, alpha=0.85, height=0.72)
    if before is not None:
        left.stairs(np.sort(before)[::-1], edges, color=GREY, linewidth=1.6,
                    baseline=None, label=BEFORE)
        right.plot(before[top], rows, linestyle='none', marker='|', markersize=9,
                   markeredgewidth=2, color=GREY)
    right.set(yticks=rows, yticklabels=[str(channel) for channel in top],
              xlim=(0, 1), ylabel='channel', xlabel='channel mask')
    right.set_title('Most agreed', fontsize=9)
    right.invert_yaxis()
    right.grid(visible=False, axis='y')


def playing_speed(clip: MaskedClip) -> float:
    """Frames per second at which masks can be followed."""
    return min(clip.fps, _MAX_FPS)


def output_names(paths: Sequence[str]) -> list[str]:
    """A name for each input: as many of its last folders as tell it from the others.

    >>> output_names(['a/0001/c1', 'a/0002/c1', 'b/walk.mp4'])
    ['0001_c1', '0002_c1', 'walk']
    """
    parts = [(*path.parts[1:-1], path.name if path.is_dir() else path.stem)
             for path in map(Path, map(os.path.abspath, paths))]
    names = []
    for number, one in enumerate(parts):
        count = next((n for n in range(1, len(one) + 1)
                      if sum(other[-n:] == one[-n:] for other in parts) == 1), None)
        # An input that is given twice, or in two formats, gets a number.
        names.append('_'.join(one[-count:]) if count else f'{one[-1]}_{number + 1}')
    return names


def write_masks(clip: MaskedClip, folder: Path, name: str, kind: str = 'mp4', *,
                wanted: Optional[Sequence[str]] = None, columns: int = 8,
                fps: Optional[float] = None, **options) -> list[Path]:
    """Write the mask grid, the mask video and the channel masks of a clip.

    If no module makes a spatial mask, or none a channel mask, the log says so and the
    other files are written.

    Args:
        clip: The clip.
        folder: Where to; it is created.
        name: Beginning of the file names.
        kind: 'mp4', 'gif' or 'both'.
        wanted: See :func:`.choose_layers`.
        columns: Frames in the grid at most.
        fps: Frames per second of the video. Default: :func:`playing_speed`.
        options: ``ranges`` and ``alpha``, see :func:`.mask_grid`.

    Raises:
        ImportError: MP4 is wanted and PyAV is not installed.
        ValueError: An option is out of range.
    """
    if kind not in FORMATS:
        raise ValueError(f'kind must be one of {FORMATS}, got {kind!r}.')
    files, missing = {}, []
    if mask_overlay.mask_layers(clip, wanted):
        grid = mask_overlay.mask_grid(clip, wanted, columns=columns, **options)
        files[f'{name}_masks.png'] = encode_image(grid, 'png')
        for one in VIDEO_KINDS if kind == 'both' else (kind,):
            images = mask_overlay.mask_video(clip, wanted, **options)
            files[f'{name}_masks.{one}'] = encode_video(
                images, one, fps if fps is not None else playing_speed(clip))
    else:
        missing.append('spatial')
    channels = plot_channel_masks(clip, wanted)
    if channels is not None:
        files[f'{name}_channels.png'] = figure_png(channels)
    else:
        missing.append('channel')
    for kind in missing:
        print_log(f'{clip.name}: no {kind} mask to show, because the COSAMs are built '
                  f'with_{kind}=False.', logger='current')
    for file, data in files.items():
        with writing(folder / file) as partial:
            partial.write_bytes(data)
    return [folder / file for file in files]

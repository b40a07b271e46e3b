"""Files of a clip's pictures."""
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from mmengine.logging import print_log

from .clip_file import CLIP_KINDS, encode_clip
from .mask_clip import MaskedClip
from .mask_drawing import channel_picture, grid_picture, mask_layers, video_pictures
from .style import encode_image, figure_png

__all__ = ['FORMATS', 'output_names', 'playing_speed', 'write_pictures']

FORMATS = (*CLIP_KINDS, 'both')
# Faster than this nobody sees what a mask does.
_MAX_FPS = 10.


def playing_speed(clip: MaskedClip) -> float:
    """Frames a second at which masks can be followed."""
    return min(clip.fps, _MAX_FPS)


def output_names(paths: Sequence[str]) -> list[str]:
    """A name for each input: as many of its last folders as tell it from the others.

    >>> output_names(['a/0001/c1', 'a/0002/c1', 'b/walk.mp4'])
    ['0001_c1', '0002_c1', 'walk']
    """
    parts = [Path(os.path.abspath(path)) for path in paths]
    parts = [(*path.parts[1:-1], path.name if path.is_dir() else path.stem)
             for path in parts]
    names = []
    for number, one in enumerate(parts):
        others = [other for k, other in enumerate(parts) if k != number]
        count = next((n for n in range(1, len(one) + 1)
                      if not any(other[-n:] == one[-n:] for other in others)), None)
        # An input that is given twice, or in two formats, is told by its place.
        names.append('_'.join(one[-count:]) if count else f'{one[-1]}_{number + 1}')
    return names


def write_pictures(clip: MaskedClip, folder: Path, name: str, kind: str = 'mp4', *,
                   wanted: Optional[Sequence[str]] = None, columns: int = 8,
                   fps: Optional[float] = None, **options) -> list[Path]:
    """Write the grid, the video and the channels of a clip.

    Where no module makes a spatial mask, or none a channel mask, the log says so and
    the others are written.

    Args:
        clip: The clip.
        folder: Where to; it is made.
        name: Files begin like that.
        kind: 'mp4', 'gif' or 'both'.
        wanted: See :func:`~.drawing.choose_layers`.
        columns: Frames in the grid at most.
        fps: Frames a second of the video. Default: :func:`playing_speed`.
        options: ``ranges`` and ``alpha``, see
            :func:`~cosam_mm.visualization.mask_overlay.mask_grid`.

    Returns:
        Paths of the files.

    Raises:
        ImportError: MP4 is wanted and PyAV is not installed.
        ValueError: An option is out of range.
    """
    if kind not in FORMATS:
        raise ValueError(f'kind must be one of {FORMATS}, got {kind!r}.')
    files = {}
    channels = channel_picture(clip, wanted)
    if mask_layers(clip, wanted):
        grid = grid_picture(clip, wanted, columns, **options)
        files[f'{name}_masks.png'] = encode_image(grid, 'png')
        for one in CLIP_KINDS if kind == 'both' else (kind,):
            pictures = video_pictures(clip, wanted, **options)
            files[f'{name}_masks.{one}'] = encode_clip(
                pictures, one, fps if fps is not None else playing_speed(clip))
    else:
        print_log(f'{clip.name}: no spatial mask to show, for the COSAMs are built '
                  'with_spatial=False.', logger='current')
    if channels is None:
        print_log(f'{clip.name}: no channel mask to show, for the COSAMs are built '
                  'with_channel=False.', logger='current')
    else:
        files[f'{name}_channels.png'] = figure_png(channels)
    folder.mkdir(parents=True, exist_ok=True)
    for file, data in files.items():
        (folder / file).write_bytes(data)
    return [folder / file for file in files]

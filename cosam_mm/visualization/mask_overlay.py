"""COSAM's spatial masks over the frames of a clip, as one image and as a video.

Frames keep their aspect. A mask lies where the network looked; what a crop leaves out
is dimmed. Masks that are compared share one range of colours, which the colour bars
explain. The range of each layer stands beside its name.
"""
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Optional

import numpy as np

from .canvas import Canvas, colour_map, fit, shorten, text_width
from .mask_maps import WHOLE_FRAME, Box, MaskedClip, mask_at_pixels, seen_pixels

__all__ = ['RANGES', 'MaskLayer', 'choose_layers', 'layer_titles', 'mask_grid',
           'mask_layers', 'mask_video', 'overlay', 'spread']

RANGES = ('common', 'layer')
Range = tuple[float, float]

_DIMMED = 0.35
_MARGIN, _GAP, _LINE = 16, 6, 18


class MaskLayer(NamedTuple):
    """The spatial masks of one COSAM for the frames of a clip."""
    title: str         # name of the layer
    masks: np.ndarray  # (n, h, w), one for each frame
    state: str = ''    # 'before training', if the layer is shown in several states

    @property
    def span(self) -> str:
        """Smallest and largest value: '0.12 to 0.63'."""
        return f'{self.masks.min():.2f} to {self.masks.max():.2f}'


# -- layers ----------------------------------------------------------------------


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
    """The modules whose names contain one of the wanted words; all, without words.

    Raises:
        ValueError: No name contains a word.
    """
    for word in wanted or ():
        if not any(word in name for name in names):
            raise ValueError(f'No COSAM of this model is named {word!r}: there is '
                             f'{", ".join(names)}.')
    return [name for name in names
            if wanted is None or any(word in name for word in wanted)]


def mask_layers(clip: MaskedClip, wanted: Optional[Sequence[str]] = None
                ) -> list[MaskLayer]:
    """The spatial masks of a clip by layer, the states of a layer side by side.

    ``wanted`` is that of :func:`choose_layers`. Empty if no module makes such masks.
    """
    names = choose_layers(list(next(iter(clip.masks.values()))), wanted)
    titles = layer_titles(names)
    return [MaskLayer(titles[name], masks[name].spatial, state)
            for name in names for state, masks in clip.masks.items()
            if masks[name].spatial is not None]


def spread(count: int, wanted: int) -> np.ndarray:
    """Indices of at most ``wanted`` of ``count`` items, evenly spread from end to end.

    >>> spread(10, 4), spread(2, 4)
    (array([0, 3, 6, 9]), array([0, 1]))
    """
    return np.linspace(0, count - 1, min(count, wanted)).round().astype(int)


def _colour_ranges(layers: Sequence[MaskLayer], ranges: str) -> dict[str, Range]:
    """Values of the first and the last colour, by title."""
    if ranges not in RANGES:
        raise ValueError(f'ranges must be one of {RANGES}, got {ranges!r}.')
    colours = {}
    for title in dict.fromkeys(layer.title for layer in layers):
        masks = np.concatenate([layer.masks.ravel() for layer in layers
                                if ranges == 'common' or layer.title == title])
        colours[title] = float(masks.min()), float(masks.max())
    return colours


# -- one frame -------------------------------------------------------------------


def overlay(frame: np.ndarray, mask: Optional[np.ndarray], colours: Range = (0., 1.),
            box: Box = WHOLE_FRAME, alpha: float = 0.6,
            smooth: bool = True) -> np.ndarray:
    """A frame with a mask over the part of it that the network saw.

    Args:
        frame: (H, W, 3) uint8, RGB, as is the result. Outside of the view it becomes
            dark grey.
        mask: (h, w); None for the frame alone.
        colours: Values of the first and the last colour.
        box: View of the network.
        alpha: Opacity of the mask, from 0 to 1.
        smooth: Whether to interpolate between the positions of the mask.

    Raises:
        ValueError: ``alpha`` is out of range.
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f'alpha must lie in [0, 1], got {alpha!r}.')
    size = frame.shape[:2]
    seen = seen_pixels(size, box)[..., None]
    inside = frame.astype(np.float64)
    # Grey as well as dark, because the colours of masks include dark ones.
    outside = _DIMMED * inside.mean(-1, keepdims=True)
    if mask is not None:
        colour = colour_map(mask_at_pixels(mask, size, box, smooth), colours)
        inside = (1 - alpha) * inside + alpha * colour
    return np.round(np.where(seen, inside, outside)).astype(np.uint8)


class _Tiles:
    """Frames of a clip in tiles of one size, each in its own aspect."""

    def __init__(self, clip: MaskedClip, side: int, alpha: float) -> None:
        self.clip, self.alpha = clip, alpha
        self.frames = [fit(frame, (side, side)) for frame in clip.frames]
        self.height, self.width, _ = np.max([one.shape for one in self.frames], axis=0)

    def draw(self, canvas: Canvas, x: int, y: int, index: int,
             layer: Optional[MaskLayer] = None, colours: Range = (0., 1.)) -> None:
        """Draw a frame, with a layer's mask over it, into the tile at (x, y)."""
        frame, box = self.frames[index], self.clip.box
        mask = None if layer is None else layer.masks[index]
        x += (self.width - frame.shape[1]) // 2
        y += (self.height - frame.shape[0]) // 2
        canvas.paste(overlay(frame, mask, colours, box, self.alpha), x, y)
        if box != WHOLE_FRAME:
            canvas.outline(x, y, frame.shape[:2], box)


def _checked_layers(clip: MaskedClip, wanted: Optional[Sequence[str]]
                    ) -> list[MaskLayer]:
    """At least one layer, each with a mask for each frame."""
    layers = mask_layers(clip, wanted)
    if not layers or not len(clip.frames):
        raise ValueError('Showing masks needs at least one spatial mask and one frame.')
    for layer in layers:
        if len(layer.masks) != len(clip.frames):
            raise ValueError(f'{layer.title} has {len(layer.masks)} masks for '
                             f'{len(clip.frames)} frames: it needs one for each.')
    return layers


# -- all frames in one image -----------------------------------------------------


def mask_grid(clip: MaskedClip, wanted: Optional[Sequence[str]] = None, *,
              columns: int = 8, ranges: str = 'common', alpha: float = 0.6,
              side: int = 132) -> np.ndarray:
    """An image (H, W, 3): a column for each frame, rows of the frames and each layer.

    Args:
        clip: The clip, with at least one spatial mask.
        wanted: See :func:`choose_layers`.
        columns: Frames to show at most, evenly spread.
        ranges: 'common' for one range of colours; 'layer' for one for each layer,
            common to its states.
        alpha: Opacity of the masks, from 0 to 1.
        side: Longer side of a frame, in pixels.

    Raises:
        ValueError: There is no frame or spatial mask, a layer has not one mask for each
            frame, or a setting is out of range.
    """
    layers = _checked_layers(clip, wanted)
    colours = _colour_ranges(layers, ranges)
    shown = spread(len(clip.frames), columns)
    tiles = _Tiles(clip, side, alpha)
    labels = max([130, *(text_width(part, 13, True) for layer in layers
                         for part in (layer.title, layer.state))])
    x0 = _MARGIN + min(labels, 260) + 12
    x = [x0 + column * (tiles.width + _GAP) for column in range(len(shown) + 1)]
    width = max(x[-1] + 64, 480)
    size, *others = {layer.masks.shape[1:] for layer in layers}
    note = ('Masks' + ('' if others else f' of {size[0]} x {size[1]} positions')
            + (', one range of colours for all.' if ranges == 'common'
               else ', a range of colours for each layer.')
            + ' Beside each name: its smallest and largest value.'
            + ' Grey: not seen by the network.' * (clip.box != WHOLE_FRAME))
    letters = (width - 2 * _MARGIN) * len(note) // text_width(note, 12)
    notes = textwrap.wrap(note, letters)
    y0 = _MARGIN + 26 * bool(clip.name) + _LINE * len(notes) + _LINE + 4
    pitch = max(tiles.height, 3 * _LINE) + _GAP
    canvas = Canvas(y0 + (1 + len(layers)) * pitch + _MARGIN, width)
    canvas.text(_MARGIN, _MARGIN, shorten(clip.name, width - 2 * _MARGIN, 16, True), 16,
                True)
    for line, text in enumerate(reversed(notes), 2):
        canvas.note(_MARGIN, y0 - 4 - line * _LINE, text)
    canvas.note(x0 - 12, y0 - _LINE + 2, 'frame', anchor='ra')
    for left, index in zip(x, shown):
        canvas.note(left + tiles.width // 2, y0 - _LINE + 2, f'{clip.numbers[index]}',
                    anchor='ma')
        tiles.draw(canvas, left, y0, index)
    for row, layer in enumerate(layers, 1):
        y = y0 + row * pitch
        _write_label(canvas, y, tiles.height, layer, x0 - _MARGIN - 12)
        for left, index in zip(x, shown):
            tiles.draw(canvas, left, y, index, layer, colours[layer.title])
        canvas.colour_bar((x[-1] + 2, y, 12, tiles.height), colours[layer.title])
    return canvas.array()


def _write_label(canvas: Canvas, y: int, height: int, layer: MaskLayer,
                 width: int) -> None:
    """Name, state and range of a layer, in the middle of its row."""
    lines = [text for text in (layer.title, layer.state, layer.span) if text]
    y += (height - _LINE * len(lines)) // 2
    canvas.text(_MARGIN, y, shorten(layer.title, width, 13, True), 13, True)
    for number, text in enumerate(lines[1:], 1):
        canvas.note(_MARGIN, y + number * _LINE, shorten(text, width, 13), 13)


# -- a video ---------------------------------------------------------------------


def mask_video(clip: MaskedClip, wanted: Optional[Sequence[str]] = None, *,
               ranges: str = 'common', alpha: float = 0.6, side: int = 224
               ) -> Iterator[np.ndarray]:
    """Images of a video: each frame, and beside it each layer over the frame.

    Yields one array (H, W, 3), uint8, RGB, for each frame, all of one size. The states
    of a layer stand one below the other. Arguments and errors are those of
    :func:`mask_grid`.
    """
    layers = _checked_layers(clip, wanted)
    colours, tiles = _colour_ranges(layers, ranges), _Tiles(clip, side, alpha)
    titles = list(colours)
    states = list(dict.fromkeys(layer.state for layer in layers))
    column = max(tiles.width, 112)
    x = [_MARGIN + number * (column + 2 * _GAP) for number in range(1 + len(titles))]
    caption = 16 * (1 + any(states)) + 6
    y0 = _MARGIN + 26 * bool(clip.name) + _LINE
    y = [y0 + caption + number * (tiles.height + caption + _GAP)
         for number in range(len(states))]
    bar = y[-1] + tiles.height + 8
    # A canvas with all words, onto which the tiles of each frame are pasted.
    canvas = Canvas(bar + 10 + 22 + _MARGIN // 2, x[-1] + column + _MARGIN)
    canvas.text(_MARGIN, _MARGIN - 2,
                shorten(clip.name, x[-1] + column - _MARGIN, 15, True), 15, True)
    cells = [(layer, x[1 + titles.index(layer.title)], y[states.index(layer.state)])
             for layer in layers]
    for layer, left, top in cells:
        for number, line in enumerate((layer.span, layer.state)):
            canvas.note(left, top - 5 - 16 * number, line, 11, 'ld')
    for title, left in zip(titles, x[1:]):
        canvas.text(left, y0 - _LINE, shorten(title, column, 13, True), 13, True)
        canvas.colour_bar((left, bar, tiles.width, 10), colours[title], 11)

    blank = np.full((caption - 2, column, 3), 255, np.uint8)
    for index in range(len(clip.frames)):
        for top in y:
            canvas.paste(blank, x[0], top - caption)
            canvas.note(x[0], top - 5, f'frame {clip.numbers[index]}', 11, 'ld')
            tiles.draw(canvas, x[0], top, index)
        for layer, left, top in cells:
            tiles.draw(canvas, left, top, index, layer, colours[layer.title])
        yield canvas.array()

"""COSAM's spatial masks over the frames of a clip: as one picture, and as a video.

A frame keeps its aspect. A mask lies where the network looked; what a crop has left out
is dimmed. Masks that are compared share one range of colours, which the colour bars
say; the range of each layer stands beside its name.
"""
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Optional

import numpy as np

from .canvas import Canvas, colour_map, fit_image, fit_size, shorten, text_width, wrap
from .mask_placement import WHOLE_FRAME, Box, place_mask, seen_pixels, value_range

__all__ = ['RANGES', 'MaskLayer', 'mask_grid', 'mask_ranges', 'mask_video', 'overlay',
           'spread']

RANGES = ('common', 'layer')
Range = tuple[float, float]

_DIMMED = 0.35
_MARGIN, _GAP, _LINE = 16, 6, 18


class MaskLayer(NamedTuple):
    """The spatial masks of one COSAM for the frames of a clip.

    Attributes:
        title: Name of the layer.
        masks: (n, h, w), one for each frame.
        state: 'before training', where the same layer is shown in several states.
    """
    title: str
    masks: np.ndarray
    state: str = ''


def spread(count: int, wanted: int) -> np.ndarray:
    """Numbers of at most ``wanted`` of ``count`` things, the first and the last too.

    >>> spread(10, 4), spread(2, 4)
    (array([0, 3, 6, 9]), array([0, 1]))
    """
    return np.linspace(0, count - 1, min(count, wanted)).round().astype(int)


def mask_ranges(layers: Sequence[MaskLayer], ranges: str = 'common'
                ) -> dict[str, Range]:
    """What the ends of the colours mean, by title.

    Args:
        layers: All masks of a picture.
        ranges: 'common': one range for all. 'layer': one for each title, common to
            its states.

    Raises:
        ValueError: ``ranges`` is another.
    """
    if ranges not in RANGES:
        raise ValueError(f'ranges must be one of {RANGES}, got {ranges!r}.')
    return {title: value_range(layer.masks for layer in layers
                               if ranges == 'common' or layer.title == title)
            for title in dict.fromkeys(layer.title for layer in layers)}


def overlay(frame: np.ndarray, mask: Optional[np.ndarray], colours: Range = (0., 1.),
            box: Box = WHOLE_FRAME, alpha: float = 0.6,
            smooth: bool = True) -> np.ndarray:
    """A frame with a mask over the part of it that the network saw.

    Args:
        frame: (H, W, 3) uint8, RGB.
        mask: (h, w); None leaves the frame as it is but for what is dimmed.
        colours: Values that get the first and the last colour.
        box: View of the network, in shares of the frame.
        alpha: Share of the colour in a pixel, from 0 to 1.
        smooth: Whether to interpolate between the places of the mask.

    Returns:
        (H, W, 3) uint8, RGB. Outside of the view the frame is dark grey.

    Raises:
        ValueError: ``alpha`` is out of range.
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f'alpha must lie in [0, 1], got {alpha!r}.')
    size = frame.shape[:2]
    seen = seen_pixels(size, box)[..., None]
    inside = frame.astype(np.float64)
    # Grey as well as dark, for dark is a colour of masks, too.
    outside = _DIMMED * inside.mean(-1, keepdims=True)
    if mask is not None:
        colour = colour_map(place_mask(mask, size, box, smooth), colours)
        inside = (1 - alpha) * inside + alpha * colour
    return np.round(np.where(seen, inside, outside)).astype(np.uint8)


class _Tiles:
    """Frames brought to one size of tiles, each in its own aspect."""

    def __init__(self, frames: Sequence[np.ndarray], side: int, box: Box) -> None:
        self.frames, self.box = frames, box
        sizes = [fit_size(frame.shape[:2], (side, side)) for frame in frames]
        self.height = max(height for height, _ in sizes)
        self.width = max(width for _, width in sizes)

    def draw(self, canvas: Canvas, x: int, y: int, number: int,
             layer: Optional[MaskLayer] = None, colours: Range = (0., 1.),
             alpha: float = 0.6) -> None:
        """Put a frame, with a layer's mask over it, into a tile at (x, y)."""
        frame = self.frames[number]
        size = fit_size(frame.shape[:2], (self.height, self.width))
        mask = None if layer is None else layer.masks[number]
        image = overlay(fit_image(frame, size), mask, colours, self.box, alpha)
        x += (self.width - size[1]) // 2
        y += (self.height - size[0]) // 2
        canvas.paste(image, x, y)
        if self.box != WHOLE_FRAME:
            canvas.outline(x, y, size, self.box)


def _check(frames: Sequence[np.ndarray], layers: Sequence[MaskLayer]) -> None:
    if not layers or not len(frames):
        raise ValueError('A picture of masks needs at least one layer and one frame.')
    for layer in layers:
        if len(layer.masks) != len(frames):
            raise ValueError(f'{layer.title} has {len(layer.masks)} masks for '
                             f'{len(frames)} frames: it needs one for each.')


def _span(layer: MaskLayer) -> str:
    """'0.12 to 0.63'."""
    low, high = value_range([layer.masks])
    return f'{low:.2f} to {high:.2f}'


def mask_grid(frames: Sequence[np.ndarray], layers: Sequence[MaskLayer], *,
              title: str = '', note: str = '', numbers: Optional[Sequence[int]] = None,
              box: Box = WHOLE_FRAME, columns: int = 8, ranges: str = 'common',
              alpha: float = 0.6, side: int = 132) -> np.ndarray:
    """One picture: frames as columns; the frames alone, then each layer, as rows.

    Args:
        frames: n arrays (H, W, 3), uint8, RGB.
        layers: Rows, from top to bottom.
        title: Written above.
        note: Written below the title, smaller.
        numbers: Of the frames in their video. Default: 0 to n - 1.
        box: View of the network, in shares of a frame.
        columns: Frames to show at most, evenly spread.
        ranges: See :func:`mask_ranges`.
        alpha: See :func:`overlay`.
        side: Longer side of a frame, in pixels.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        ValueError: There is no frame or layer, a layer has not one mask for each
            frame, or a setting is out of range.
    """
    _check(frames, layers)
    shown = spread(len(frames), columns)
    colours = mask_ranges(layers, ranges)
    tiles = _Tiles(frames, side, box)
    labels = max([130, *(text_width(part, 13, True) for layer in layers
                         for part in (layer.title, layer.state))])
    x0 = _MARGIN + min(labels, 260) + 12
    width = max(x0 + len(shown) * (tiles.width + _GAP) + 64, 480)
    notes = wrap(note, width - 2 * _MARGIN, 12)
    y0 = _MARGIN + (26 if title else 0) + _LINE * len(notes) + _LINE + 4
    pitch = max(tiles.height, 3 * _LINE) + _GAP
    canvas = Canvas(y0 + (1 + len(layers)) * pitch + _MARGIN, width)
    _write_head(canvas, width - 2 * _MARGIN, title, notes)

    numbers = np.arange(len(frames)) if numbers is None else numbers
    for column, number in enumerate(shown):
        x = x0 + column * (tiles.width + _GAP)
        canvas.note(x + tiles.width // 2, y0 - _LINE + 2, f'{numbers[number]}',
                    anchor='ma')
        tiles.draw(canvas, x, y0, number)
    canvas.note(x0 - 12, y0 - _LINE + 2, 'frame', anchor='ra')
    for row, layer in enumerate(layers, 1):
        y = y0 + row * pitch
        _write_label(canvas, y, tiles.height, layer, x0 - _MARGIN - 12)
        for column, number in enumerate(shown):
            tiles.draw(canvas, x0 + column * (tiles.width + _GAP), y, number, layer,
                       colours[layer.title], alpha)
        x = x0 + len(shown) * (tiles.width + _GAP) + 2
        canvas.colour_bar((x, y, 12, tiles.height), colours[layer.title])
    return canvas.array()


def _write_head(canvas: Canvas, width: int, title: str, notes: Sequence[str]) -> None:
    y = _MARGIN
    if title:
        canvas.text(_MARGIN, y, shorten(title, width, 16, True), 16, True)
        y += 26
    for line in notes:
        canvas.note(_MARGIN, y, line)
        y += _LINE


def _write_label(canvas: Canvas, y: int, height: int, layer: MaskLayer,
                 width: int) -> None:
    """Name, state and range of a layer, in the middle of its row."""
    lines = [(layer.title, True), (layer.state, False), (_span(layer), False)]
    lines = [(shorten(text, width, 13, bold), bold) for text, bold in lines if text]
    y += (height - _LINE * len(lines)) // 2
    for text, bold in lines:
        if bold:
            canvas.text(_MARGIN, y, text, 13, True)
        else:
            canvas.note(_MARGIN, y, text, 13)
        y += _LINE


def mask_video(frames: Sequence[np.ndarray], layers: Sequence[MaskLayer], *,
               title: str = '', numbers: Optional[Sequence[int]] = None,
               box: Box = WHOLE_FRAME, ranges: str = 'common', alpha: float = 0.6,
               side: int = 224) -> Iterator[np.ndarray]:
    """Pictures of a video: the frame, and beside it each layer over the frame.

    States of a layer stand one above the other.

    Args:
        frames: As for :func:`mask_grid`, and so are all others.
        layers: Titles from left to right, states from top to bottom.
        title: Written above.
        numbers: As for :func:`mask_grid`.
        box: As for :func:`mask_grid`.
        ranges: As for :func:`mask_grid`.
        alpha: As for :func:`mask_grid`.
        side: Longer side of a frame, in pixels.

    Returns:
        Iterator over as many arrays (H, W, 3), uint8, RGB, all of one size.

    Raises:
        ValueError: As for :func:`mask_grid`.
    """
    _check(frames, layers)
    colours = mask_ranges(layers, ranges)
    numbers = np.arange(len(frames)) if numbers is None else numbers
    return _video_pictures(_Tiles(frames, side, box), layers, colours, title, numbers,
                           alpha)


def _video_pictures(tiles: _Tiles, layers: Sequence[MaskLayer],
                    colours: Mapping[str, Range], title: str, numbers: Sequence[int],
                    alpha: float) -> Iterator[np.ndarray]:
    titles = list(colours)
    states = list(dict.fromkeys(layer.state for layer in layers))
    column = max(tiles.width, 112)
    x = [_MARGIN + number * (column + 2 * _GAP) for number in range(1 + len(titles))]
    caption = 16 * (2 if any(states) else 1) + 6
    y0 = _MARGIN + (26 if title else 0) + _LINE
    y = [y0 + caption + number * (tiles.height + caption + _GAP)
         for number in range(len(states))]
    bar = y[-1] + tiles.height + 8
    canvas = Canvas(bar + 10 + 22 + _MARGIN // 2, x[-1] + column + _MARGIN)
    if title:
        canvas.text(_MARGIN, _MARGIN - 2,
                    shorten(title, x[-1] + column - _MARGIN, 15, True), 15, True)
    places = [(x[1 + titles.index(layer.title)], y[states.index(layer.state)])
              for layer in layers]
    for layer, (left, top) in zip(layers, places):
        if layer.state == states[0]:
            canvas.text(left, y0 - _LINE, shorten(layer.title, column, 13, True), 13,
                        True)
        for number, line in enumerate((_span(layer), layer.state)):
            canvas.note(left, top - 5 - 16 * number, line, 11, 'ld')
    for name, left in zip(titles, x[1:]):
        canvas.colour_bar((left, bar, tiles.width, 10), colours[name], 11)

    blank = np.full((caption - 2, column, 3), 255, np.uint8)
    for number in range(len(tiles.frames)):
        for top in y:
            canvas.paste(blank, x[0], top - caption)
            canvas.note(x[0], top - 5, f'frame {numbers[number]}', 11, 'ld')
            tiles.draw(canvas, x[0], top, number)
        for layer, (left, top) in zip(layers, places):
            tiles.draw(canvas, left, top, number, layer, colours[layer.title], alpha)
        yield canvas.array()

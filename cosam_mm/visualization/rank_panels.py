"""Rank panels: re-ID queries beside the gallery tracklets nearest to them.

    query     1         2         3         ...
    +----+    +----+    +----+    +----+
    |    |    |v   |    |x   |    |-   |      v right (green)   x wrong (red)
    |    |    |    |    |    |    |    |      - same person and camera as the query
    +----+    +----+    +----+    +----+        (grey): ignored, has no rank
    id        1  0.31   2  0.35   -  0.36
              id        id        id

Marks and words say the same as the colours. Images come from the data set's own list: a
name in a feature file only selects a tracklet there and is never part of a path. Person
and camera must agree too, so that another data set with equal names shows no image.
"""
import copy
import json
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple, Optional

import numpy as np
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS

from cosam_mm.apis.model_loading import dataset_of_tests, scope_of
from cosam_mm.apis.tracklet_encoder import TrackletEncoder
from cosam_mm.datasets import reid  # noqa: F401  (registers what configs name)
from cosam_mm.datasets.image_files import UnreadableImage, read_image
from cosam_mm.evaluation.functional.ranked_lists import (
    IGNORED,
    RIGHT,
    WRONG,
    ExtremeQueries,
    RankingReview,
)
from cosam_mm.utils.config import set_data_root, set_split, type_name
from cosam_mm.utils.messages import name_some
from cosam_mm.utils.progress import progress_bar

from .canvas import Canvas, fit, shorten, text_width
from .mask_overlay import choose_layers, overlay, spread
from .reid_plots import ReIDReview
from .style import GREEN, GREY, INK, LINES, RED

__all__ = ['LEGEND', 'STATE_COLOURS', 'UNRATED', 'PanelEntry', 'RankMasks', 'RankPanel',
           'TrackletImages', 'describe_panel', 'draw_rank_panels', 'find_queries',
           'find_tracklet_images', 'make_panels', 'panel_heading', 'query_titles',
           'read_frame']

# (paths of a tracklet, index) -> (H, W, 3) uint8, RGB; None for an unreadable image.
FrameReader = Callable[[Sequence[str], int], Optional[np.ndarray]]

UNRATED = -1  # state of an entry of which nobody says who it is
STATE_COLOURS = {RIGHT: GREEN, WRONG: RED, IGNORED: GREY}
LEGEND = {RIGHT: 'right: the same person in another camera',
          WRONG: 'wrong: another person',
          IGNORED: "not counted: the same person in the query's camera"}
_MARKS = {RIGHT: '✓', WRONG: '✗', IGNORED: '–'}  # noqa: RUF001

_MAX_SIDE = 512  # pixels of a frame in memory; panels show less
_MASK_ALPHA = .5  # so that the person below a mask stays recognisable
# Pixels.
_WIDTH, _BORDER, _BADGE = 116, 5, 22
_MARGIN, _GAP, _QUERY_GAP, _ROW_GAP = 16, 12, 34, 24
_TITLE, _HEADING, _LINE = 38, 28, 20
_FONT = 14


class PanelEntry(NamedTuple):
    """A gallery tracklet in the list of a query."""
    tracklet_id: str
    camid: Optional[int]         # negative if unknown; None: not said
    image: Optional[np.ndarray]  # (H, W, 3) uint8, RGB; None if there is none
    state: int                   # RIGHT, WRONG, IGNORED or UNRATED
    rank: int                    # from 1; 0 if it is ignored
    distance: float              # to the query


class RankPanel(NamedTuple):
    """A query and the beginning of its list."""
    title: str                              # its position among all: '2nd best'
    tracklet_id: str
    camid: Optional[int]                    # negative if unknown; None: not said
    images: Sequence[Optional[np.ndarray]]  # some of its frames, as in PanelEntry
    entries: Sequence[PanelEntry]           # nearest first
    average_precision: float                # in [0, 1]; NaN without a positive match
    first_rank: int                         # of a positive match; 0 if there is none
    num_matches: int                        # positive matches in the gallery


# -- images ----------------------------------------------------------------------


class TrackletImages:
    """Paths of images by tracklet, of data sets of tracklets."""

    def __init__(self, subsets: Sequence[BaseDataset]) -> None:
        # Indices only: the data sets keep the paths serialized.
        self._indices = {}
        for subset in subsets:
            for index in range(len(subset)):
                item = subset.get_data_info(index)
                key = item['tracklet_id'], item['pid'], item['camid']
                self._indices.setdefault(key, (subset, index))

    def __len__(self) -> int:
        return len(self._indices)

    def paths(self, tracklet_id: str, pid: int, camid: int) -> list[str]:
        """Images in the order of time; empty for a tracklet that is not listed."""
        subset, index = self._indices.get((tracklet_id, pid, camid), (None, 0))
        return list(subset.get_data_info(index)['img_paths']) if subset else []


def find_tracklet_images(config: Config, data_root: Optional[str] = None,
                         split: str = '') -> TrackletImages:
    """List the tracklets of a config's test.

    Args:
        config: With query and gallery of any tracklet data set.
        data_root: Folder of the data set. Default: the config's.
        split: As a feature file names it; a number selects that split of the data set,
            if it has splits.

    Raises:
        FileNotFoundError: The data set, or a part of it, is missing.
        ValueError: The config tests no tracklets, the data set is not as its config
            says, or it has no such split.
    """
    config = copy.deepcopy(config)
    if data_root is not None:
        set_data_root(config, data_root)
    dataset = dataset_of_tests(config)
    subsets = {name: dataset.get(name) for name in ('query', 'gallery')}
    if not all(isinstance(subset, dict) for subset in subsets.values()):
        raise ValueError('The test data set of this config has no query and gallery: '
                         'take a config of configs/reid.')
    named = re.fullmatch(r'([0-9]{1,3})( \(first half tests\))?', split)
    if named and any('split' in subset for subset in subsets.values()):
        set_split(config, int(named[1]))
        for subset in subsets.values():
            if type_name(subset) == 'ILIDSVID':  # up to version 0.1 without these words
                subset['split_convention'] = \
                    'first_half_tests' if named[2] else 'first_half_trains'
    with scope_of(config):
        return TrackletImages([
            DATASETS.build(dict(subset, subset=name, pipeline=[], test_mode=True))
            for name, subset in subsets.items()])


def read_frame(paths: Sequence[str], index: int) -> Optional[np.ndarray]:
    """A frame of a tracklet, made smaller if it is large; None if it is unreadable."""
    try:
        image = read_image(paths[index])
    except UnreadableImage:
        return None
    return image if max(image.shape) <= _MAX_SIDE else fit(image, (_MAX_SIDE,) * 2)


class RankMasks:
    """Reads frames and lays the masks of one COSAM over them.

    The mask of a frame depends on its clip. As in tests, clips of T frames do not
    overlap, and the last one is looped.

    Args:
        encoder: A trained model. If it has no COSAM with spatial masks, or none of that
            name, reading a frame raises ValueError.
        layer: Part of the COSAM's name, such as 'after_layer4'. Default: the last one.
            Once a frame has been read, this is the whole name.
    """

    def __init__(self, encoder: TrackletEncoder, layer: Optional[str] = None) -> None:
        self._encoder, self.layer = encoder, layer
        steps = json.loads(encoder.recipe)['pipeline']
        self._clip_len = next(step['num_frames'] for step in steps
                              if type_name(step) == 'SampleTrackletFrames')

    def mask(self, paths: Sequence[str], index: int) -> np.ndarray:
        """(h, w), in (0, 1), of the frame ``paths[index]``."""
        start = index - index % self._clip_len
        clip = paths[start:start + self._clip_len]
        looped = [clip[k % len(clip)] for k in range(self._clip_len)]
        _, masks = self._encoder.encode(looped, return_masks=True)
        spatial = {name: one.spatial for name, one in masks.items()
                   if one.spatial is not None}
        if not spatial:
            raise ValueError(f'The model of {self._encoder.checkpoint} has no COSAM '
                             'with spatial masks: leave the masks out.')
        wanted = None if self.layer is None else [self.layer]
        self.layer = choose_layers(list(spatial), wanted)[-1]
        return spatial[self.layer][0, index - start].numpy()

    def __call__(self, paths: Sequence[str], index: int) -> Optional[np.ndarray]:
        """The frame with its mask; None if it is unreadable."""
        frame = read_frame(paths, index)
        return None if frame is None else overlay(
            frame, self.mask(paths, index), alpha=_MASK_ALPHA)


# -- queries and their panels ----------------------------------------------------


def find_queries(review: ReIDReview, tracklet_ids: Sequence[str]) -> list[int]:
    """Indices of queries by name.

    Raises:
        ValueError: No readable query has a name.
    """
    names = review.features['tracklet_id'][review.query].tolist()
    missing = [name for name in tracklet_ids if name not in names]
    if missing:
        raise ValueError(
            f'There is no readable query {missing[0]!r} among the {len(names):,} of '
            f'this file: {name_some(names)}.')
    return [names.index(name) for name in tracklet_ids]


def query_titles(extremes: ExtremeQueries) -> dict[int, str]:
    """Index of a query -> its position among all, in words.

    >>> query_titles(ExtremeQueries([7, 3], [5]))
    {7: 'Best', 3: '2nd best', 5: 'Worst'}
    """
    titles = {}
    for kind, queries in (('best', extremes.best), ('worst', extremes.worst)):
        for position, query in enumerate(map(int, queries), start=1):
            ending = 'th' if position % 100 in (11, 12, 13) else {
                1: 'st', 2: 'nd', 3: 'rd'}.get(position % 10, 'th')
            titles[query] = kind.capitalize() if position == 1 \
                else f'{position}{ending} {kind}'
    return titles


def make_panels(review: ReIDReview, ranking: RankingReview, queries: Sequence[int],
                images: Optional[TrackletImages], titles: Sequence[str] = (),
                num_frames: int = 1, read: FrameReader = read_frame,
                progress: bool = False) -> list[RankPanel]:
    """Panels of some queries.

    Args:
        review: All rankings of a feature file.
        ranking: One of them.
        queries: Indices of queries.
        images: Where images come from; None for panels without images.
        titles: One for each query. Default: none.
        num_frames: Frames of a query to show, evenly spread. Gallery entries show
            their first frame.
        read: Reads a frame, such as a :class:`RankMasks`.
        progress: Show a progress bar.
    """
    features = review.features

    def frames(row: int, count: int) -> list[Optional[np.ndarray]]:
        paths = [] if images is None else images.paths(
            *(features[key][row].item() for key in ('tracklet_id', 'pid', 'camid')))
        return [read(paths, int(index)) for index in spread(len(paths), count)] \
            if paths else [None]

    panels, lists, ranks = [], ranking.lists, ranking.ranks
    for query, title in progress_bar(
            list(zip(queries, titles or [''] * len(queries))), 'rank panels', 'query',
            show=progress, leave=False):
        row, rows = review.query[query], review.gallery[lists.index[query]]
        entries = [PanelEntry(
            str(features['tracklet_id'][near]), int(features['camid'][near]),
            frames(near, 1)[0], int(state), int(rank), float(distance))
            for near, state, rank, distance in zip(
                rows, lists.state[query], lists.rank[query], lists.distance[query])]
        panels.append(RankPanel(
            title, str(features['tracklet_id'][row]), int(features['camid'][row]),
            frames(row, num_frames), entries, float(ranks.average_precision[query]),
            int(ranks.first_rank[query]), int(ranks.num_matches[query])))
    return panels


# -- words -----------------------------------------------------------------------


def _distance(value: float) -> str:
    """Four digits: '3.970', '1234'."""
    return f'{value:#.4g}'.rstrip('.')


def _camera(camid: Optional[int]) -> str:
    """'camera 3', 'camera unknown', or nothing."""
    if camid is None:
        return ''
    return f'camera {camid}' if camid >= 0 else 'camera unknown'


def panel_heading(panel: RankPanel) -> str:
    """One line: the query and its average precision.

    >>> panel_heading(RankPanel('Worst', '0007C1', 1, [], [], .125, 8, 1))
    'Worst: query 0007C1, camera 1. AP 12.5 %, its positive match at rank 8'
    """
    query = f'query {panel.tracklet_id}, {_camera(panel.camid)}'
    if panel.title:
        query = f'{panel.title}: {query}'
    if not panel.num_matches:
        return f'{query}. No positive match in the gallery, so no AP'
    first = ('its positive match' if panel.num_matches == 1
             else f'the first of {panel.num_matches} positive matches')
    return (f'{query}. AP {100 * panel.average_precision:.1f} %, {first} at rank '
            f'{panel.first_rank}')


def describe_panel(panel: RankPanel) -> str:
    """All that a panel shows, in words, for screen readers."""
    entries = '; '.join(
        f'{f"rank {entry.rank}" if entry.rank else "no rank"} '
        f'{LEGEND[entry.state].partition(":")[0]}: {entry.tracklet_id}, '
        f'{_camera(entry.camid)}, distance {_distance(entry.distance)}'
        for entry in panel.entries)
    return f'{panel_heading(panel)}. {entries}.'


# -- drawing ---------------------------------------------------------------------


def draw_rank_panels(panels: Sequence[RankPanel], title: str = '',
                     is_alone: bool = True) -> np.ndarray:
    """Draw a row for each query: its frames, then its list.

    Args:
        panels: At least one.
        title: Above all rows.
        is_alone: Whether the image must explain itself, with a heading for each row and
            a legend of colours and marks.

    Returns:
        (H, W, 3) uint8, RGB.
    """
    num_frames = max(len(panel.images) for panel in panels)
    num_entries = max(len(panel.entries) for panel in panels)
    width = (2 * _MARGIN - _GAP + _QUERY_GAP
             + (num_frames + num_entries) * (_WIDTH + _GAP))
    if is_alone:
        width = max(width, _legend_columns()[-1])
    shapes = [image.shape for panel in panels
              for image in [*panel.images, *(entry.image for entry in panel.entries)]
              if image is not None] or [(2, 1)]
    # The median aspect, within what a row can hold.
    ratio = np.clip(np.median([shape[0] / shape[1] for shape in shapes]), .6, 2.4)
    height = round((_WIDTH - 2 * _BORDER) * ratio) + 2 * _BORDER
    heading, legend = (_HEADING, _BADGE + 2 * _MARGIN) if is_alone else (0, 0)
    step = heading + height + 6 + 3 * _LINE + _ROW_GAP
    top = _MARGIN + (_TITLE if title else 0)
    bottom = top + len(panels) * step - _ROW_GAP + _MARGIN // 2
    canvas = Canvas(bottom + legend, width)
    limit = width - 2 * _MARGIN
    canvas.text(_MARGIN, _MARGIN, shorten(title, limit, 20, True), 20, True)
    for panel in panels:
        if is_alone:
            canvas.text(_MARGIN, top, shorten(panel_heading(panel), limit, 15, True),
                        15, True)
        _draw_row(canvas, top + heading, height, panel, num_frames)
        top += step
    if is_alone:
        for x, (state, words) in zip(_legend_columns(), LEGEND.items()):
            _draw_badge(canvas, x, bottom + _MARGIN // 2, state)
            canvas.text(x + _BADGE + 8, bottom + (_MARGIN + _BADGE) // 2, words, _FONT,
                        anchor='lm')
    return canvas.array()


def _legend_columns() -> list[int]:
    """x of each state's badge, and of the one that would follow."""
    steps = [_BADGE + 8 + text_width(words, _FONT) + _QUERY_GAP
             for words in LEGEND.values()]
    return [_MARGIN + sum(steps[:number]) for number in range(len(steps) + 1)]


def _draw_row(canvas: Canvas, top: int, height: int, panel: RankPanel,
              num_frames: int) -> None:
    """The frames of a query, and its list at their right."""
    x, step = _MARGIN, _WIDTH + _GAP
    lines = 'query', panel.tracklet_id, _camera(panel.camid)
    for number, image in enumerate(panel.images):
        _draw_cell(canvas, x + number * step, top, height, image,
                   () if number else lines)
    x += num_frames * step + _QUERY_GAP
    for entry in panel.entries:
        lines = str(entry.rank or '-'), entry.tracklet_id, _camera(entry.camid)
        _draw_cell(canvas, x, top, height, entry.image, lines,
                   STATE_COLOURS.get(entry.state, INK), _distance(entry.distance))
        if entry.state != UNRATED:
            _draw_badge(canvas, x, top, entry.state)
        x += step


def _draw_cell(canvas: Canvas, x: int, y: int, height: int,
               image: Optional[np.ndarray], lines: Sequence[str], colour: str = INK,
               right: str = '') -> None:
    """A framed image in its own aspect, or the words 'no image', and lines below."""
    inside = height - 2 * _BORDER, _WIDTH - 2 * _BORDER
    canvas.fill(x, y, (height, _WIDTH), colour)
    canvas.fill(x + _BORDER, y + _BORDER, inside, LINES)
    middle = x + _WIDTH // 2, y + height // 2
    if image is None:
        canvas.text(*middle, 'no image', 13, anchor='mm')
    else:
        image = fit(image, inside)
        canvas.paste(image, middle[0] - image.shape[1] // 2,
                     middle[1] - image.shape[0] // 2)
    y += height + 6
    canvas.text(x + _WIDTH, y, right, _FONT, anchor='ra')
    for number, line in enumerate(lines):
        canvas.text(x, y + number * _LINE, shorten(line, _WIDTH, _FONT), _FONT,
                    number == 0, INK if number else colour)


def _draw_badge(canvas: Canvas, x: int, y: int, state: int) -> None:
    """The mark of a state, on its colour."""
    canvas.fill(x, y, (_BADGE, _BADGE), STATE_COLOURS[state])
    canvas.text(x + _BADGE // 2, y + _BADGE // 2, _MARKS[state], 18, True, 'white',
                'mm')

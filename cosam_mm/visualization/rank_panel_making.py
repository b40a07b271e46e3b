"""Rank panels of a feature file: its lists, the data set's images, a model's masks.

    ReIDReview (numbers)  +  TrackletImages (paths)  ->  RankPanel (to be drawn)
                             RankMasks (a model), on request
"""
import json
from collections.abc import Sequence
from typing import Optional, Protocol

import numpy as np

from cosam_mm.apis.tracklet_encoder import TrackletEncoder
from cosam_mm.datasets.image_files import UnreadableImage, read_image
from cosam_mm.evaluation.functional.ranked_lists import ExtremeQueries, RankingReview
from cosam_mm.utils.progress import progress_bar

from .canvas import fit_image, fit_size
from .mask_drawing import choose_layers
from .mask_overlay import overlay, spread
from .rank_panels import PanelEntry, RankPanel
from .reid_review import ReIDReview
from .tracklet_images import TrackletImages

__all__ = ['FrameReader', 'RankMasks', 'find_queries', 'make_panels', 'place_titles',
           'read_frame']

_MAX_SIDE = 512  # pixels of a picture that is kept; panels draw less
_MAX_NAMED = 5
_ALPHA = .5  # of a mask: what is under it must stay recognisable


class FrameReader(Protocol):
    """Gives a picture of one frame of a tracklet."""

    def __call__(self, paths: Sequence[str], number: int) -> Optional[np.ndarray]:
        """(H, W, 3) uint8, RGB, of ``paths[number]``; None if it cannot be read."""


def read_frame(paths: Sequence[str], number: int) -> Optional[np.ndarray]:
    """The frame as it is, smaller if it is large."""
    try:
        image = read_image(paths[number])
    except UnreadableImage:
        return None
    size = image.shape[:2]
    return fit_image(image, fit_size(size, (_MAX_SIDE, _MAX_SIDE))) \
        if max(size) > _MAX_SIDE else image


class RankMasks:
    """Frames with the masks of one COSAM over them.

    The mask of a frame depends on the clip that it is in: here the one of
    non-overlapping clips of T frames that holds it, the last of them looped, as tests
    take them.

    Args:
        encoder: A trained model.
        layer: Part of the name of the COSAM, such as 'after_layer4'. Default: the
            last one of the model.

    Attributes:
        layer: Its whole name, after the first frame.

    Raises:
        ValueError: At the first frame: the model has no COSAM with spatial masks, or
            none of that name.
    """

    def __init__(self, encoder: TrackletEncoder, layer: Optional[str] = None) -> None:
        self._encoder, self.layer = encoder, layer
        steps = json.loads(encoder.recipe)['pipeline']
        self._clip_len = next(step['num_frames'] for step in steps
                              if step['type'] == 'SampleTrackletFrames')

    def mask(self, paths: Sequence[str], number: int) -> np.ndarray:
        """(h, w), in (0, 1), of the frame ``paths[number]``."""
        start = number - number % self._clip_len
        clip = paths[start:start + self._clip_len]
        looped = [clip[place % len(clip)] for place in range(self._clip_len)]
        _, masks = self._encoder.encode(looped, return_masks=True)
        spatial = {name: one.spatial for name, one in masks.items()
                   if one.spatial is not None}
        if not spatial:
            raise ValueError(f'The model of {self._encoder.checkpoint} has no COSAM '
                             'with spatial masks: leave the masks out.')
        wanted = None if self.layer is None else [self.layer]
        self.layer = choose_layers(list(spatial), wanted)[-1]
        return spatial[self.layer][0, number - start].numpy()

    def __call__(self, paths: Sequence[str], number: int) -> Optional[np.ndarray]:
        frame = read_frame(paths, number)
        return None if frame is None else overlay(
            frame, self.mask(paths, number), alpha=_ALPHA)


# -- which queries -----------------------------------------------------------


def find_queries(review: ReIDReview, tracklet_ids: Sequence[str]) -> list[int]:
    """Numbers of queries, by name.

    Raises:
        ValueError: There is no readable query of a name.
    """
    names = review.features['tracklet_id'][review.query].tolist()
    missing = [name for name in tracklet_ids if name not in names]
    if missing:
        raise ValueError(
            f'There is no readable query {missing[0]!r} among the {len(names):,} of '
            f'this file; the first are {", ".join(names[:_MAX_NAMED])}.')
    return [names.index(name) for name in tracklet_ids]


def place_titles(extremes: ExtremeQueries) -> dict[int, str]:
    """Number of a query -> what it is among all, in words.

    Example:
        >>> place_titles(ExtremeQueries([7, 3], [5]))
        {7: 'Best', 3: '2nd best', 5: 'Worst'}
    """
    return {query: f'{_ordinal(place)} {kind}'.strip().capitalize()
            for kind, queries in (('best', extremes.best), ('worst', extremes.worst))
            for place, query in enumerate(map(int, queries), start=1)}


def _ordinal(place: int) -> str:
    """'', '2nd', '3rd', '4th', …"""
    if place == 1:
        return ''
    ending = 'th' if place % 100 in (11, 12, 13) else {
        1: 'st', 2: 'nd', 3: 'rd'}.get(place % 10, 'th')
    return f'{place}{ending}'


# -- panels ------------------------------------------------------------------


def make_panels(review: ReIDReview, ranking: RankingReview, queries: Sequence[int],
                images: Optional[TrackletImages], titles: Sequence[str] = (),
                num_frames: int = 1, read: FrameReader = read_frame,
                progress: bool = False) -> list[RankPanel]:
    """Panels of some queries.

    Args:
        review: All rankings of a feature file.
        ranking: One of them.
        queries: Numbers of queries.
        images: Where pictures come from; None leaves them out.
        titles: Of the panels, as many as there are queries. Default: none.
        num_frames: Frames of a query to show, evenly spread over the tracklet.
            Gallery entries show their first one.
        read: Makes the picture of a frame, such as a :class:`RankMasks`.
        progress: Show a bar.
    """
    features = review.features

    def pictures(row: int, count: int) -> list[Optional[np.ndarray]]:
        paths = [] if images is None else images.paths(
            *(features[key][row].item() for key in ('tracklet_id', 'pid', 'camid')))
        return [read(paths, int(number)) for number in spread(len(paths), count)] \
            if paths else [None]

    def entry(row: int, state: int, rank: int, distance: float) -> PanelEntry:
        return PanelEntry(
            str(features['tracklet_id'][row]), int(features['camid'][row]),
            pictures(row, 1)[0], int(state), int(rank), float(distance))

    panels = []
    for query, title in progress_bar(
            list(zip(queries, titles or [''] * len(queries))), 'rank panels', 'query',
            show=progress, leave=False):
        lists, ranks = ranking.lists, ranking.ranks
        rows = review.gallery[lists.index[query]]
        row = review.query[query]
        panels.append(RankPanel(
            title, str(features['tracklet_id'][row]), int(features['camid'][row]),
            pictures(row, num_frames),
            [entry(*values) for values in zip(
                rows, lists.state[query], lists.rank[query], lists.distance[query])],
            float(ranks.average_precision[query]), int(ranks.first_rank[query]),
            int(ranks.num_matches[query])))
    return panels

"""Pictures of a search: queries beside the tracklets of a gallery nearest to them."""
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .rank_panels import UNRATED, PanelEntry, RankPanel, draw_rank_panels, read_frame

__all__ = ['SearchResult', 'draw_search_results']


class SearchResult(NamedTuple):
    """A query, and what was found for it."""
    query: str
    images: Sequence[str]  # paths, of the query
    matches: Sequence[tuple[str, float, Sequence[str]]]  # name, distance, paths


def draw_search_results(results: Sequence[SearchResult]) -> np.ndarray:
    """Draw a row for each query: its middle frame, then those of what was found.

    Args:
        results: At least one. Of a tracklet without paths there is no image.

    Returns:
        (H, W, 3) uint8, RGB.
    """
    def frame(paths: Sequence[str]):
        return read_frame(paths, len(paths) // 2) if paths else None

    panels = [
        RankPanel('', result.query, None, [frame(result.images)], [
            PanelEntry(name, None, frame(paths), UNRATED, rank, distance)
            for rank, (name, distance, paths) in enumerate(result.matches, start=1)],
            float('nan'), 0, 0) for result in results]
    return draw_rank_panels(panels, is_alone=False)

"""A feature file seen from all sides: figures, lists, pairs, with and without
re-ranking."""
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Optional, Union

import numpy as np

from cosam_mm.evaluation.functional.distance import distance_blocks
from cosam_mm.evaluation.functional.ranked_lists import RankingReview, review_blocks
from cosam_mm.evaluation.functional.reranking import rerank_blocks
from cosam_mm.evaluation.reid_evaluation import (
    RERANK_DISTANCE,
    check_options,
    comparable_cameras,
    split_subsets,
)
from cosam_mm.evaluation.reid_features import complete_features
from cosam_mm.utils.progress import progress_bar

__all__ = ['ReIDReview', 'review_features']

_BLOCK_BYTES = 2**24


@dataclass(frozen=True)
class ReIDReview:
    """Rankings of a gallery, the unreadable left out.

    Attributes:
        features: With every key; see :mod:`cosam_mm.evaluation.reid_features`.
        query: (Q,) rows of the queries in ``features``.
        gallery: (G,) rows of the gallery.
        distance: 'euclidean' or 'cosine'.
        rerank: Options of the re-ranking; empty where there is none.
        ranking: By that distance.
        reranked: By the re-ranked one; None where there is none.
    """
    features: dict
    query: np.ndarray
    gallery: np.ndarray
    distance: str
    rerank: dict
    ranking: RankingReview
    reranked: Optional[RankingReview]

    @property
    def rankings(self) -> dict[str, RankingReview]:
        """Each ranking by a name."""
        named = {f'{self.distance} distance': self.ranking, 're-ranked': self.reranked}
        return {name: one for name, one in named.items() if one is not None}

    @property
    def has_truth(self) -> bool:
        """Whether there is a query that can be rated."""
        return bool(self.ranking.ranks.valid.any())


def review_features(features: Mapping, distance: str = 'euclidean',
                    rerank: Union[bool, Mapping] = False, topk: int = 10,
                    progress: bool = False) -> ReIDReview:
    """Rank the gallery for each query, by the rules of ``evaluate_features``.

    The figures of both agree; here, queries without any truth are no error.

    Args:
        features: See :mod:`cosam_mm.evaluation.reid_features`.
        distance: 'euclidean' or 'cosine'.
        rerank: Whether to re-rank as well, or a dict of its options.
        topk: Entries of each list, those that do not count included.
        progress: Show bars.

    Raises:
        ValueError: Arrays or options are not as described, a subset is empty, a pid
            is negative or a feature is not finite.
        ImportError: Re-ranking lacks scipy.
    """
    options = check_options(distance, rerank, (1,))
    features = complete_features(features)
    query, gallery = split_subsets(features)
    camids = comparable_cameras(features)
    vectors = [features['feature'][rows] for rows in (query, gallery)]
    ids = [values[rows] for values in (features['pid'], camids)
           for rows in (query, gallery)]
    with progress_bar(what='ranking', unit='query', total=len(query), show=progress,
                      leave=False) as bar:
        ranking = review_blocks(_reporting(
            distance_blocks(*vectors, distance, _BLOCK_BYTES), bar.update), *ids, topk)
    reranked = None
    if options:
        with progress_bar(what='re-ranking', unit='tracklet', show=progress,
                          total=2 * len(query) + len(gallery)) as bar:
            reranked = review_blocks(rerank_blocks(
                *vectors, **options, distance=RERANK_DISTANCE[distance],
                report=bar.update), *ids, topk)
    return ReIDReview(features, query, gallery, distance, options, ranking, reranked)


def _reporting(blocks, report):
    for rows, block in blocks:
        yield rows, block
        report(len(block))

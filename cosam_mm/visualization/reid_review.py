"""A feature file seen from all sides: figures, lists, pairs, with and without
re-ranking."""
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Optional, Union

import numpy as np

from cosam_mm.evaluation.functional.ranked_lists import RankingReview, review_ranking
from cosam_mm.evaluation.reid_evaluation import prepare_ranking

__all__ = ['ReIDReview', 'review_features']


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
    prepared = prepare_ranking(features, distance, rerank)
    ranking = review_ranking(prepared.distances(progress), *prepared.ids, topk)
    reranked = review_ranking(prepared.reranked_distances(progress), *prepared.ids,
                              topk) if prepared.rerank else None
    return ReIDReview(prepared.features, prepared.query, prepared.gallery, distance,
                      prepared.rerank, ranking, reranked)

"""From features of queries and gallery to figures that say what made them."""
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Optional, Union

import numpy as np

from cosam_mm.utils.progress import progress_bar

from .functional.reranking import check_rerank_options, rerank_blocks
from .functional.retrieval import (
    QueryRanks,
    rank_blocks,
    rank_features,
    retrieval_figures,
)
from .metrics.reid_attributes import Attributes, carriers
from .reid_features import SUBSETS, TEXTS, complete_features, name_some

__all__ = ['RERANK_DISTANCE', 'ReIDResult', 'check_options', 'comparable_cameras',
           'evaluate_features', 'split_subsets']

# The re-ranking's paper squares the Euclidean distance; a ranking does not care.
RERANK_DISTANCE = dict(euclidean='squared_euclidean', cosine='cosine')
_RERANK_DEFAULTS = dict(k1=20, k2=6, lambda_value=.3)

# -- result ------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class ReIDResult:
    """Figures, and what one must know to compare them with others.

    Attributes:
        figures: Shares in [0, 1]: mAP, R<k>, mINP and, re-ranked, rerank_mAP, ...
        attributes: The same for the queries that carry an attribute, by attribute,
            each with ``num_valid_queries``; no figures where that is 0.
        dataset: Data set that was tested on.
        protocol: What was compared with what.
        split: Which split; '' where there is one only.
        clip_sampling: Which clips of a tracklet made its feature.
        distance: 'euclidean' or 'cosine'.
        rerank: Options of the re-ranking; empty where there was none.
        num_queries: Queries, unreadable ones left out.
        num_gallery: Gallery tracklets, unreadable ones left out.
        num_valid_queries: Queries that the figures are means of.
        queries_without_truth: Tracklet ids of the other ones.
        num_queries_without_attributes: Queries the attribute table does not know.
        unreadable: Tracklet ids, of both subsets, that were left out.
    """
    figures: dict
    attributes: dict
    dataset: str
    protocol: str
    split: str
    clip_sampling: str
    distance: str
    rerank: dict
    num_queries: int
    num_gallery: int
    num_valid_queries: int
    queries_without_truth: tuple
    num_queries_without_attributes: int
    unreadable: tuple

    def as_dict(self) -> dict:
        """Everything but the lists of names, flat, in types that JSON knows.

        Figures of an attribute are called <attribute>_mAP and so on.
        """
        out = dict(self.figures)
        for name, figures in self.attributes.items():
            out.update({f'{name}_{key}': value for key, value in figures.items()})
        out.update(
            num_valid_queries=self.num_valid_queries,
            num_queries_without_truth=len(self.queries_without_truth),
            num_queries=self.num_queries, num_gallery=self.num_gallery,
            num_unreadable=len(self.unreadable))
        if self.attributes:
            out['num_queries_without_attributes'] = self.num_queries_without_attributes
        out.update({key: getattr(self, key) for key in (*TEXTS, 'distance')})
        out['rerank'] = _describe_rerank(self.rerank)
        return out

    def __str__(self) -> str:
        """One paragraph that can stand in a report."""
        split = f', split {self.split}' if self.split else ''
        plain = {k: v for k, v in self.figures.items() if k[:7] != 'rerank_'}
        reranked = {k[7:]: v for k, v in self.figures.items() if k[:7] == 'rerank_'}
        parts = [
            f'{self.dataset or "Data set not stated"}{split}, protocol: '
            f'{self.protocol or "not stated"}; clips: '
            f'{self.clip_sampling or "not stated"}; {self.distance} distance: '
            f'{_percent(plain)}']
        if reranked:
            parts.append(f'Re-ranked ({_describe_rerank(self.rerank)}): '
                         f'{_percent(reranked)}')
        parts.append(self._describe_counts())
        parts.extend(self._describe_attribute(name) for name in self.attributes)
        return '. '.join(parts) + '.'

    def _describe_counts(self) -> str:
        text = (f'Means over {self.num_valid_queries:,} of {self.num_queries:,} '
                f'queries against {self.num_gallery:,} gallery tracklets')
        if self.queries_without_truth:
            text += (f'; {len(self.queries_without_truth):,} queries have no true '
                     'match from another camera in the gallery and are left out')
        if self.unreadable:
            text += f'; {len(self.unreadable):,} unreadable tracklets are left out'
        return text

    def _describe_attribute(self, name: str) -> str:
        figures = dict(self.attributes[name])
        count = figures.pop('num_valid_queries')
        return (f'With {name} ({count:,} queries): {_percent(figures)}' if count
                else f'With {name}: no valid query')


def _percent(figures: dict[str, float]) -> str:
    return ', '.join(f'{key} {100 * value:.1f} %' for key, value in figures.items())


def _describe_rerank(options: dict) -> str:
    return ', '.join(f'{key}={value}' for key, value in options.items())


# -- evaluation --------------------------------------------------------------


def check_options(distance: str, rerank: Union[bool, Mapping],
                  ranks: Sequence[int]) -> dict:
    """Refuse wrong options of :func:`evaluate_features` before any work is done.

    Returns:
        All options of the re-ranking; empty where there is to be none.

    Raises:
        ValueError: An option is not among those allowed.
        ImportError: Re-ranking lacks scipy.
    """
    if distance not in RERANK_DISTANCE:
        raise ValueError(
            f'distance must be one of {tuple(RERANK_DISTANCE)}, got {distance!r}.')
    if not ranks or any(not isinstance(k, int) or k < 1 for k in ranks):
        raise ValueError(f'ranks must hold integers of at least 1, got {ranks!r}.')
    if not isinstance(rerank, (bool, Mapping)):
        raise ValueError(
            f'rerank must be True, False or a dict of options, got {rerank!r}.')
    if rerank is False:
        return {}
    given = {} if rerank is True else dict(rerank)
    unknown = sorted(set(given).difference(_RERANK_DEFAULTS))
    if unknown:
        raise ValueError(f'rerank has the unknown options {unknown}; allowed are '
                         f'{list(_RERANK_DEFAULTS)}.')
    options = {**_RERANK_DEFAULTS, **given}
    check_rerank_options(**options)
    return options


def split_subsets(features: dict) -> tuple[np.ndarray, np.ndarray]:
    """Rows of readable queries and gallery tracklets.

    Raises:
        ValueError: A subset is empty, a pid is negative or a feature is not finite.
    """
    readable = ~features['unreadable']
    rows = [np.flatnonzero(readable & (features['subset'] == name)) for name in SUBSETS]
    for name, own in zip(SUBSETS, rows):
        if not len(own):
            raise ValueError(
                f'No readable {name} tracklet is among the {len(readable)} features, '
                'so there is nothing to rate: check the data set of the test.')
    for is_bad, what in (
            (features['pid'] < 0, 'a negative pid, which means junk: leave them out of '
             'query and gallery'),
            (~np.isfinite(features['feature']).all(axis=1), 'NaN or infinity in their '
             'features: the model has diverged, or its checkpoint is damaged')):
        bad = features['tracklet_id'][is_bad & readable]
        if len(bad):
            raise ValueError(f'{len(bad)} tracklets have {what}. They are '
                             f'{name_some(bad)}.')
    return tuple(rows)


def comparable_cameras(features: dict) -> np.ndarray:
    """Camera numbers; each tracklet of an unknown camera gets one of its own."""
    camids = features['camid'].astype(np.int64)
    unknown = camids < 0
    _, number = np.unique(features['tracklet_id'][unknown], return_inverse=True)
    camids[unknown] = -1 - number
    return camids


def _query_attributes(attributes: Optional[Attributes], features: dict,
                      query: np.ndarray) -> tuple[dict[str, np.ndarray], int]:
    if attributes is None:
        return {}, 0
    carried, known = carriers(
        attributes, {key: features[key][query] for key in ('pid', 'tracklet_id')})
    return carried, int((~known).sum())


def _figures(ranks: QueryRanks, ks: Sequence[int], prefix: str,
             selection: Optional[np.ndarray] = None) -> dict[str, float]:
    found = retrieval_figures(ranks, max(ks), selection)
    named = {'mAP': found.mean_ap, **{f'R{k}': float(found.cmc[k - 1]) for k in ks},
             'mINP': found.mean_inp}
    return {prefix + key: value for key, value in named.items()}


def _attribute_figures(rankings: dict[str, QueryRanks], ks: Sequence[int],
                       carried: dict[str, np.ndarray]) -> dict[str, dict]:
    out = {}
    for name, selection in carried.items():
        count = int((selection & rankings[''].valid).sum())
        out[name] = dict(num_valid_queries=count)
        for prefix, ranks in rankings.items():
            if count:
                out[name].update(_figures(ranks, ks, prefix, selection))
    return out


def evaluate_features(features: Mapping, distance: str = 'euclidean',
                      rerank: Union[bool, Mapping] = False,
                      attributes: Optional[Attributes] = None,
                      ranks: Sequence[int] = (1, 5, 10, 20),
                      progress: bool = False) -> ReIDResult:
    """Rate how the gallery is ranked for each query.

    The rules on ties, cameras and queries without truth are those at the head of
    :mod:`cosam_mm.evaluation.functional.retrieval`.

    Args:
        features: See the head of ``reid_features.py``; ``load_features`` reads
            them from a file.
        distance: 'euclidean' or 'cosine'.
        rerank: Whether to rate k-reciprocal re-ranking too, or a dict of its options
            ``k1``, ``k2`` and ``lambda_value``.
        attributes: Sets of attributes by pid or by tracklet_id; figures of the
            queries that carry each are added. See ``read_attributes``.
        ranks: The k of the CMC figures R<k>.
        progress: Show a bar while re-ranking.

    Returns:
        The figures and their circumstances.

    Raises:
        ValueError: Arrays or options are not as described, a subset is empty, no
            query has truth, a pid is negative or a feature is not finite.

    Example:
        >>> result = evaluate_features(dict(
        ...     feature=[[0., 0.], [0., 1.], [3., 4.]], pid=[7, 7, 8],
        ...     camid=[1, 2, 2], subset=['query', 'gallery', 'gallery'],
        ...     tracklet_id=['a', 'b', 'c'], dataset='toy'))
        >>> result.figures['mAP'], result.num_valid_queries
        (1.0, 1)
    """
    options = check_options(distance, rerank, ranks)
    features = complete_features(features)
    query, gallery = split_subsets(features)
    carried, num_unknown = _query_attributes(attributes, features, query)
    vectors = [features['feature'][rows] for rows in (query, gallery)]
    camids = comparable_cameras(features)
    ids = [values[rows] for values in (features['pid'], camids)
           for rows in (query, gallery)]
    rankings = {'': rank_features(*vectors, *ids, distance)}
    if options:
        with progress_bar(what='re-ranking', unit='tracklet', show=progress,
                          total=2 * len(query) + len(gallery)) as bar:
            rankings['rerank_'] = rank_blocks(rerank_blocks(
                *vectors, **options, distance=RERANK_DISTANCE[distance],
                report=bar.update), *ids)
    figures = {}
    for prefix, ranking in rankings.items():
        figures.update(_figures(ranking, ranks, prefix))
    names, valid = features['tracklet_id'], rankings[''].valid
    return ReIDResult(
        figures, _attribute_figures(rankings, ranks, carried),
        *(features[key] for key in TEXTS), distance, options,
        num_queries=len(query), num_gallery=len(gallery),
        num_valid_queries=int(valid.sum()),
        queries_without_truth=tuple(names[query[~valid]].tolist()),
        num_queries_without_attributes=num_unknown,
        unreadable=tuple(names[features['unreadable']].tolist()))

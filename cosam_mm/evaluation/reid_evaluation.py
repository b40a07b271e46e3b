"""Person re-identification: from the features of query and gallery to metrics.

    ReIDMetric              collects one feature a tracklet while a test runs
        |                   (save_features, load_features: they outlive it in a file)
    evaluate_features
        |
    prepare_ranking         checks features and options, leaves unreadable tracklets out
        |  distances        of the features or re-ranked, block by block
    rank_distances          ranks of the positive matches (functional/ranking.py)
        |
    retrieval_metrics       CMC, mAP, mINP
        |
    ReIDResult              the metrics, and which data set, protocol, clips made them
"""
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Optional, Union

import numpy as np

from cosam_mm.utils.messages import name_some
from cosam_mm.utils.progress import progress_bar

from .functional.distance import distance_blocks
from .functional.ranking import QueryRanks, rank_distances, retrieval_metrics
from .functional.reranking import check_rerank_options, rerank_blocks
from .reid_features import (
    SUBSETS,
    TEXTS,
    Attributes,
    complete_features,
    find_carriers,
)

__all__ = ['PreparedRanking', 'ReIDResult', 'check_options', 'evaluate_features',
           'prepare_ranking']

# The re-ranking's paper squares the Euclidean distance; a ranking does not care.
_RERANK_DISTANCE = dict(euclidean='squared_euclidean', cosine='cosine')
_RERANK_DEFAULTS = dict(k1=20, k2=6, lambda_value=.3)

# -- features and options ----------------------------------------------------


def check_options(distance: str, rerank: Union[bool, Mapping],
                   ranks: Sequence[int] = (1,)) -> dict:
    """All options of the re-ranking; empty where there is to be none."""
    if distance not in _RERANK_DISTANCE:
        raise ValueError(
            f'distance must be one of {tuple(_RERANK_DISTANCE)}, got {distance!r}.')
    if not ranks or any(not isinstance(k, int) or k < 1 for k in ranks):
        raise ValueError(f'ranks must hold integers of at least 1, got {ranks!r}.')
    if not isinstance(rerank, (bool, Mapping)):
        raise ValueError(
            f'rerank must be True, False or a dict of options, got {rerank!r}.')
    if rerank is False:
        return {}
    options = {**_RERANK_DEFAULTS, **({} if rerank is True else rerank)}
    unknown = sorted(set(options).difference(_RERANK_DEFAULTS))
    if unknown:
        raise ValueError(f'rerank has the unknown options {unknown}; allowed are '
                         f'{list(_RERANK_DEFAULTS)}.')
    check_rerank_options(**options)
    return options


def _split_subsets(features: dict) -> tuple[np.ndarray, np.ndarray]:
    """Rows of readable queries and gallery tracklets."""
    readable = ~features['unreadable']
    rows = [np.flatnonzero(readable & (features['subset'] == name)) for name in SUBSETS]
    for name, own in zip(SUBSETS, rows):
        if not len(own):
            raise ValueError(
                f'No readable {name} tracklet is among the {len(readable)} features, '
                'so there is nothing to evaluate: check the data set of the test.')
    for is_bad, what in (
            (features['pid'] < 0, 'a negative pid, which means junk: leave them out of '
             'query and gallery'),
            (~np.isfinite(features['feature']).all(axis=1), 'NaN or infinity in their '
             'features: the model has diverged, or its checkpoint is damaged')):
        bad = features['tracklet_id'][is_bad & readable]
        if len(bad):
            raise ValueError(f'{len(bad)} tracklets have {what}. They are '
                             f'{name_some(map(repr, bad.tolist()))}.')
    return tuple(rows)


def _comparable_cameras(features: dict) -> np.ndarray:
    """Camera numbers; an unknown camera has seen nothing but the tracklet's source.

    (N,), or (N, 2) with numbers of the sources where tracklets share them.
    """
    camids = features['camid'].astype(np.int64)
    _, source = np.unique(features['source'], return_inverse=True)
    camids[camids < 0] = -1 - source[camids < 0]
    is_plain = (features['source'] == features['tracklet_id']).all()
    return camids if is_plain else np.stack([camids, source], axis=1)


@dataclass(frozen=True, eq=False)
class PreparedRanking:
    """Query and gallery of a test, whose distances can be taken."""
    features: dict  # with every key; see the head of reid_features.py
    query: np.ndarray  # (Q,) rows of the readable queries in features
    gallery: np.ndarray  # (G,) rows of the readable gallery tracklets
    # q_pids, g_pids, q_camids, g_camids, as rank_distances takes them.
    ids: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
    distance: str  # 'euclidean' or 'cosine'
    rerank: dict  # options of the re-ranking; empty where there is none

    def distances(self, progress: bool = False) -> Iterator[tuple[slice, np.ndarray]]:
        """Blocks of the distances (Q, G) of the features."""
        q, g = (self.features['feature'][rows] for rows in (self.query, self.gallery))
        with progress_bar(what='ranking', unit='query', total=len(q), show=progress,
                          leave=False) as bar:
            for rows, block in distance_blocks(q, g, self.distance, 2**24):
                yield rows, block
                bar.update(len(block))

    def reranked_distances(self, progress: bool = False
                           ) -> Iterator[tuple[slice, np.ndarray]]:
        """Blocks of the re-ranked distances (Q, G)."""
        q, g = (self.features['feature'][rows] for rows in (self.query, self.gallery))
        with progress_bar(what='re-ranking', unit='tracklet', show=progress,
                          total=2 * len(q) + len(g)) as bar:
            yield from rerank_blocks(
                q, g, **self.rerank, distance=_RERANK_DISTANCE[self.distance],
                report=bar.update)


def prepare_ranking(features: Mapping, distance: str = 'euclidean',
                    rerank: Union[bool, Mapping] = False) -> PreparedRanking:
    """Check features and options, and leave unreadable tracklets out.

    Args:
        features: See the head of ``reid_features.py``.
        distance: 'euclidean' or 'cosine'.
        rerank: Whether there is to be re-ranking, or a dict of its options.

    Raises:
        ValueError: Arrays or options are not as described, a subset is empty, a pid
            is negative or a feature is not finite.
        ImportError: Re-ranking lacks scipy.
    """
    options = check_options(distance, rerank)
    features = complete_features(features)
    query, gallery = _split_subsets(features)
    ids = tuple(values[rows]
                for values in (features['pid'], _comparable_cameras(features))
                for rows in (query, gallery))
    if len(set(ids[1])) == 1 and set(ids[1]) <= set(ids[0]):
        raise ValueError(
            f'All {len(gallery)} gallery tracklets are of one person, pid {ids[1][0]}: '
            'no query has a wrong candidate, and any model would reach 100 %.')
    return PreparedRanking(features, query, gallery, ids, distance, options)


# -- result ------------------------------------------------------------------


def _percent(metrics: dict[str, float], prefix: str = '') -> str:
    return ', '.join(f'{key[len(prefix):]} {100 * value:.1f} %'
                     for key, value in metrics.items() if key.startswith(prefix))


@dataclass(frozen=True)
class ReIDResult:
    """Metrics, and what one must know to compare them with others."""
    metrics: dict  # shares in [0, 1]: mAP, R<k>, mINP and, re-ranked, rerank_mAP, ...
    # The same by attribute, for the queries that carry it, each with
    # num_valid_queries; nothing else where that is 0.
    attributes: dict
    dataset: str  # that was tested on
    protocol: str  # what was compared with what
    split: str  # which one; '' where there is one only
    clip_sampling: str  # which clips of a tracklet made its feature
    distance: str  # 'euclidean' or 'cosine'
    rerank: dict  # options of the re-ranking; empty where there was none
    num_queries: int  # unreadable ones left out
    num_gallery: int  # gallery tracklets, unreadable ones left out
    num_valid_queries: int  # that the metrics are means over
    queries_without_match: tuple  # tracklet ids of the other ones
    num_queries_without_attributes: int  # that the attribute table does not know
    unreadable: tuple  # tracklet ids, of both subsets, that were left out
    num_copied_queries: int  # whose ranking leaves out copies of themselves

    def as_dict(self) -> dict:
        """Everything but the lists of names, flat, in types that JSON knows.

        Metrics of an attribute are called <attribute>_mAP and so on.
        """
        out = dict(self.metrics)
        for name, metrics in self.attributes.items():
            out.update({f'{name}_{key}': value for key, value in metrics.items()})
        out.update(
            num_valid_queries=self.num_valid_queries,
            num_queries_without_truth=len(self.queries_without_match),
            num_queries=self.num_queries, num_gallery=self.num_gallery,
            num_unreadable=len(self.unreadable))
        if self.attributes:
            out['num_queries_without_attributes'] = self.num_queries_without_attributes
        out.update({key: getattr(self, key) for key in (*TEXTS, 'distance')})
        out['rerank'] = self._describe_rerank()
        return out

    def __str__(self) -> str:
        """One paragraph that can stand in a report."""
        split = f', split {self.split}' if self.split else ''
        plain = {k: v for k, v in self.metrics.items() if not k.startswith('rerank_')}
        parts = [
            f'{self.dataset or "Data set not stated"}{split}, protocol: '
            f'{self.protocol or "not stated"}; clips: '
            f'{self.clip_sampling or "not stated"}; {self.distance} distance: '
            f'{_percent(plain)}']
        if self.rerank:
            parts.append(f'Re-ranked ({self._describe_rerank()}): '
                         f'{_percent(self.metrics, "rerank_")}')
        counts = (f'Means over {self.num_valid_queries:,} of {self.num_queries:,} '
                  f'queries against {self.num_gallery:,} gallery tracklets')
        if self.queries_without_match:
            counts += (f'; {len(self.queries_without_match):,} queries have no '
                       'positive match from another camera in the gallery and are left '
                       'out')
        if self.unreadable:
            counts += f'; {len(self.unreadable):,} unreadable tracklets are left out'
        if self.num_copied_queries:
            counts += (f'; the rankings of {self.num_copied_queries:,} queries leave '
                       'out copies of themselves')
        parts.append(counts)
        for name, metrics in self.attributes.items():
            count, *rest = metrics.items()
            parts.append(f'With {name} ({count[1]:,} queries): {_percent(dict(rest))}'
                         if rest else f'With {name}: no valid query')
        return '. '.join(parts) + '.'

    def _describe_rerank(self) -> str:
        return ', '.join(f'{key}={value}' for key, value in self.rerank.items())


# -- evaluation --------------------------------------------------------------


def _metrics(ranks: QueryRanks, ks: Sequence[int], prefix: str,
             selection: Optional[np.ndarray] = None) -> dict[str, float]:
    """Shares in [0, 1] by the names that a user sees."""
    means = retrieval_metrics(ranks, max(ks), selection)
    named = {'mAP': means.mean_ap, **{f'R{k}': float(means.cmc[k - 1]) for k in ks},
             'mINP': means.mean_inp}
    return {prefix + key: value for key, value in named.items()}


def _attribute_metrics(rankings: dict[str, QueryRanks], ks: Sequence[int],
                       carried: dict[str, np.ndarray]) -> dict[str, dict]:
    """Metrics of the queries that carry an attribute, by attribute."""
    out = {}
    for name, selection in carried.items():
        count = int((selection & rankings[''].valid).sum())
        out[name] = dict(num_valid_queries=count)
        for prefix, ranks in rankings.items():
            if count:
                out[name].update(_metrics(ranks, ks, prefix, selection))
    return out


def evaluate_features(features: Mapping, distance: str = 'euclidean',
                      rerank: Union[bool, Mapping] = False,
                      attributes: Optional[Attributes] = None,
                      ranks: Sequence[int] = (1, 5, 10, 20),
                      progress: bool = False) -> ReIDResult:
    """Evaluate how the gallery is ranked for each query.

    The rules on ties, cameras and queries without a match are those at the head of
    :mod:`cosam_mm.evaluation.functional.ranking`.

    Args:
        features: See the head of ``reid_features.py``; ``load_features`` reads
            them from a file.
        distance: 'euclidean' or 'cosine'.
        rerank: Whether to evaluate k-reciprocal re-ranking, too; or its options
            ``k1``, ``k2`` and ``lambda_value`` as a dict.
        attributes: Sets of attributes by pid or by tracklet_id; metrics of
            the queries that carry each are added. See ``read_attributes``.
        ranks: The k of the CMC values R<k>.
        progress: Show a bar while re-ranking.

    Raises:
        ValueError: Arrays or options are not as described, a subset is empty, no
            query has a match, a pid is negative or a feature is not finite.

    Example:
        >>> result = evaluate_features(dict(
        ...     feature=[[0., 0.], [0., 1.], [3., 4.]], pid=[7, 7, 8],
        ...     camid=[1, 2, 2], subset=['query', 'gallery', 'gallery'],
        ...     tracklet_id=['a', 'b', 'c'], dataset='toy'))
        >>> result.metrics['mAP'], result.num_valid_queries
        (1.0, 1)
    """
    check_options(distance, rerank, ranks)
    prepared = prepare_ranking(features, distance, rerank)
    features, query = prepared.features, prepared.query
    carried, known = ({}, np.ones(0, bool)) if attributes is None else find_carriers(
        attributes, {key: features[key][query] for key in ('pid', 'tracklet_id')})
    rankings = {'': rank_distances(prepared.distances(), *prepared.ids)}
    if prepared.rerank:
        rankings['rerank_'] = rank_distances(
            prepared.reranked_distances(progress), *prepared.ids)
    metrics = {}
    for prefix, ranking in rankings.items():
        metrics.update(_metrics(ranking, ranks, prefix))
    names, valid = features['tracklet_id'], rankings[''].valid
    return ReIDResult(
        metrics, _attribute_metrics(rankings, ranks, carried),
        *(features[key] for key in TEXTS), distance, prepared.rerank,
        num_queries=len(query), num_gallery=len(prepared.gallery),
        num_valid_queries=int(valid.sum()),
        queries_without_match=tuple(names[query[~valid]].tolist()),
        num_queries_without_attributes=int((~known).sum()),
        unreadable=tuple(names[features['unreadable']].tolist()),
        num_copied_queries=int((features['source'] != names)[query].sum()))

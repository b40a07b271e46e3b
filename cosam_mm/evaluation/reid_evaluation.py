"""From the features of query and gallery to metrics, by one way.

    prepare_ranking     checks features and options, leaves unreadable tracklets out
        |  distances    of the features or re-ranked, block by block
    rank_distances      ranks of the positive matches (functional/retrieval.py)
        |
    retrieval_metrics   CMC, mAP, mINP
        |
    ReIDResult          the metrics, and which data set, protocol, clips made them
"""
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Optional, Union

import numpy as np

from cosam_mm.utils.messages import name_some
from cosam_mm.utils.progress import progress_bar

from .functional.distance import distance_blocks
from .functional.reranking import check_rerank_options, rerank_blocks
from .functional.retrieval import QueryRanks, rank_distances, retrieval_metrics
from .reid_attributes import Attributes, carriers
from .reid_features import SUBSETS, TEXTS, complete_features

__all__ = ['PreparedRanking', 'ReIDResult', 'check_options', 'evaluate_features',
           'prepare_ranking']

# The re-ranking's paper squares the Euclidean distance; a ranking does not care.
_RERANK_DISTANCE = dict(euclidean='squared_euclidean', cosine='cosine')
_RERANK_DEFAULTS = dict(k1=20, k2=6, lambda_value=.3)

# -- features and options ----------------------------------------------------


def check_options(distance: str, rerank: Union[bool, Mapping],
                  ranks: Sequence[int] = (1,)) -> dict:
    """Refuse wrong options of :func:`evaluate_features` before any work is done.

    Returns:
        All options of the re-ranking; empty where there is to be none.

    Raises:
        ValueError: An option is not among those allowed.
        ImportError: Re-ranking lacks scipy.
    """
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
    given = {} if rerank is True else dict(rerank)
    unknown = sorted(set(given).difference(_RERANK_DEFAULTS))
    if unknown:
        raise ValueError(f'rerank has the unknown options {unknown}; allowed are '
                         f'{list(_RERANK_DEFAULTS)}.')
    options = {**_RERANK_DEFAULTS, **given}
    check_rerank_options(**options)
    return options


def _split_subsets(features: dict) -> tuple[np.ndarray, np.ndarray]:
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
    """Camera numbers; each tracklet of an unknown camera gets one of its own."""
    camids = features['camid'].astype(np.int64)
    unknown = camids < 0
    _, number = np.unique(features['tracklet_id'][unknown], return_inverse=True)
    camids[unknown] = -1 - number
    return camids


@dataclasses.dataclass(frozen=True, eq=False)
class PreparedRanking:
    """Query and gallery of a test, whose distances can be taken.

    Attributes:
        features: With every key; see the head of ``reid_features.py``.
        query: (Q,) rows of the readable queries in ``features``.
        gallery: (G,) rows of the readable gallery tracklets.
        ids: q_pids, g_pids, q_camids, g_camids. Each tracklet of an unknown camera
            has a camera of its own.
        distance: 'euclidean' or 'cosine'.
        rerank: Options of the re-ranking; empty where there is none.
    """
    features: dict
    query: np.ndarray
    gallery: np.ndarray
    ids: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
    distance: str
    rerank: dict

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
    return PreparedRanking(features, query, gallery, ids, distance, options)


# -- result ------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class ReIDResult:
    """Metrics, and what one must know to compare them with others.

    Attributes:
        metrics: Shares in [0, 1]: mAP, R<k>, mINP and, re-ranked, rerank_mAP, ...
        attributes: The same for the queries that carry an attribute, by attribute,
            each with ``num_valid_queries``; empty but for it where that is 0.
        dataset: Data set that was tested on.
        protocol: What was compared with what.
        split: Which split; '' where there is one only.
        clip_sampling: Which clips of a tracklet made its feature.
        distance: 'euclidean' or 'cosine'.
        rerank: Options of the re-ranking; empty where there was none.
        num_queries: Queries, unreadable ones left out.
        num_gallery: Gallery tracklets, unreadable ones left out.
        num_valid_queries: Queries that the metrics are means over.
        queries_without_match: Tracklet ids of the other ones.
        num_queries_without_attributes: Queries the attribute table does not know.
        unreadable: Tracklet ids, of both subsets, that were left out.
    """
    metrics: dict
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
    queries_without_match: tuple
    num_queries_without_attributes: int
    unreadable: tuple

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
        out['rerank'] = _describe_rerank(self.rerank)
        return out

    def __str__(self) -> str:
        """One paragraph that can stand in a report."""
        split = f', split {self.split}' if self.split else ''
        plain = {k: v for k, v in self.metrics.items() if k[:7] != 'rerank_'}
        reranked = {k[7:]: v for k, v in self.metrics.items() if k[:7] == 'rerank_'}
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
        if self.queries_without_match:
            text += (f'; {len(self.queries_without_match):,} queries have no positive '
                     'match from another camera in the gallery and are left out')
        if self.unreadable:
            text += f'; {len(self.unreadable):,} unreadable tracklets are left out'
        return text

    def _describe_attribute(self, name: str) -> str:
        metrics = dict(self.attributes[name])
        count = metrics.pop('num_valid_queries')
        return (f'With {name} ({count:,} queries): {_percent(metrics)}' if count
                else f'With {name}: no valid query')


def _percent(metrics: dict[str, float]) -> str:
    return ', '.join(f'{key} {100 * value:.1f} %' for key, value in metrics.items())


def _describe_rerank(options: dict) -> str:
    return ', '.join(f'{key}={value}' for key, value in options.items())


# -- evaluation --------------------------------------------------------------


def _query_attributes(attributes: Optional[Attributes], features: dict,
                      query: np.ndarray) -> tuple[dict[str, np.ndarray], int]:
    if attributes is None:
        return {}, 0
    carried, known = carriers(
        attributes, {key: features[key][query] for key in ('pid', 'tracklet_id')})
    return carried, int((~known).sum())


def _metrics(ranks: QueryRanks, ks: Sequence[int], prefix: str,
             selection: Optional[np.ndarray] = None) -> dict[str, float]:
    means = retrieval_metrics(ranks, max(ks), selection)
    named = {'mAP': means.mean_ap, **{f'R{k}': float(means.cmc[k - 1]) for k in ks},
             'mINP': means.mean_inp}
    return {prefix + key: value for key, value in named.items()}


def _attribute_metrics(rankings: dict[str, QueryRanks], ks: Sequence[int],
                       carried: dict[str, np.ndarray]) -> dict[str, dict]:
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
    :mod:`cosam_mm.evaluation.functional.retrieval`.

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

    Returns:
        The metrics and what they were measured on.

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
    carried, num_unknown = _query_attributes(attributes, features, query)
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
        num_queries_without_attributes=num_unknown,
        unreadable=tuple(names[features['unreadable']].tolist()))

"""The metric of person re-identification: it collects the features of a test."""
import logging
import os
from collections.abc import Mapping, Sequence
from typing import Optional, Union

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from cosam_mm.evaluation.provenance import MADE_BY, made_by
from cosam_mm.evaluation.reid_evaluation import (
    ReIDResult,
    check_options,
    evaluate_features,
)
from cosam_mm.evaluation.reid_features import (
    ARRAYS,
    TEXTS,
    Attributes,
    read_attributes,
    save_features,
)
from cosam_mm.registry import METRICS
from cosam_mm.utils.messages import name_some

__all__ = ['ReIDMetric']


def _kept_values(sample: Mapping) -> dict:
    """What the metric keeps of a data sample."""
    missing = [key for key in ARRAYS
               if key not in ('source', 'unreadable') and sample.get(key) is None]
    if missing:
        raise ValueError(
            f'A data sample lacks {missing}: VideoReID sets "feature" in mode '
            '"predict", PackTrackletInputs the others from a query or gallery subset.')
    feature = sample['feature'].detach().float().cpu().numpy()
    if feature.ndim != 1:
        raise ValueError(
            f'The feature of tracklet {sample["tracklet_id"]!r} has shape '
            f'{feature.shape}; expected one vector for the whole tracklet, (D,).')
    return dict(
        {key: sample.get(key) for key in TEXTS}, feature=feature,
        pid=int(sample['pid']), camid=int(sample['camid']),
        subset=str(sample['subset']), tracklet_id=str(sample['tracklet_id']),
        unreadable=bool(sample.get('unreadable', False)))


@METRICS.register_module()
class ReIDMetric(BaseMetric):
    """CMC, mAP and mINP of a test that goes over query and gallery.

    Keys: ``reid/mAP``, ``reid/R1`` (R5, R10, R20), ``reid/mINP``, ``reid/rerank_mAP``
    and so on when re-ranking, ``reid/<attribute>_mAP`` and so on with attributes,
    the counts and texts of :meth:`ReIDResult.as_dict`. The whole result is logged as
    a paragraph, and kept as ``result``.

    Data set, protocol and split are those of the data set's metainfo, else of the
    first sample that names them. Tracklets marked ``unreadable`` are left out of the
    metrics, and named.

    Args:
        distance: 'euclidean' or 'cosine'.
        rerank: Evaluate k-reciprocal re-ranking too; True, or a dict of its options.
        feature_file: Write the features to this .npz file, before they are evaluated.
        attributes: CSV file (see :func:`read_attributes`) or mapping: adds metrics
            of the queries that carry each attribute.
        clip_sampling: Words on which clips make a feature, for the result. Default:
            what the data set's metainfo or the samples say.
        ranks: The k of the CMC values.
        kwargs: ``collect_device``, ``prefix`` (default: 'reid') and ``collect_dir`` of
            mmengine's BaseMetric.
    """

    default_prefix = 'reid'

    def __init__(self, distance: str = 'euclidean',
                 rerank: Union[bool, Mapping] = False,
                 feature_file: Optional[str] = None,
                 attributes: Union[str, Attributes, None] = None,
                 clip_sampling: Optional[str] = None,
                 ranks: Sequence[int] = (1, 5, 10, 20),
                 **kwargs: Optional[str]) -> None:
        super().__init__(**kwargs)
        check_options(distance, rerank, ranks)
        if feature_file is not None and not str(feature_file).endswith('.npz'):
            raise ValueError(f'feature_file must end in .npz, got {feature_file!r}.')
        if isinstance(attributes, (str, os.PathLike)):
            attributes = read_attributes(attributes)
        self.distance = distance
        self.rerank = rerank
        self.feature_file = feature_file
        self.attributes = attributes
        self.clip_sampling = clip_sampling
        self.ranks = tuple(ranks)
        self.result: Optional[ReIDResult] = None

    def process(self, data_batch, data_samples: Sequence[Mapping]) -> None:
        """Keep feature, person, camera, subset and name of each tracklet."""
        self.results.extend(_kept_values(sample) for sample in data_samples)

    def compute_metrics(self, results: list[dict]) -> dict:
        """Write the feature file, evaluate the features, log the result."""
        if not results:
            raise ValueError('There is no tracklet to evaluate.')
        features = self._gather(results)
        if self.feature_file is not None:
            save_features(self.feature_file, features)
            print_log(f'Features of {len(results):,} tracklets are in '
                      f'{self.feature_file}.', logger='current')
        self.result = evaluate_features(
            features, self.distance, self.rerank, self.attributes, self.ranks,
            progress=True)
        print_log(str(self.result), logger='current')
        self._warn()
        metrics = self.result.as_dict()
        if features['weights_sha256']:
            metrics.update({key: features[key] for key in MADE_BY})
        # mmengine's JSON file of a test holds null for whole numbers.
        return {key: float(value) if isinstance(value, int) else value
                for key, value in metrics.items()}

    def _gather(self, results: list[dict]) -> dict:
        """Features of all samples, and what data set, samples and config call them."""
        lengths = sorted({len(result['feature']) for result in results})
        if len(lengths) > 1:
            raise ValueError(f'Features of lengths {lengths} came in one test.')
        features = {key: np.stack([result[key] for result in results])
                    for key in ARRAYS if key != 'source'}
        meta = dict(self.dataset_meta or {})
        copies, names = meta.get('copies') or {}, features['tracklet_id'].tolist()
        features['source'] = np.array([copies.get(name, name) for name in names])
        if self.clip_sampling is not None:
            meta['clip_sampling'] = self.clip_sampling
        for key in TEXTS:
            stated = (own[key] for own in (meta, *results) if own.get(key) is not None)
            features[key] = next(stated, '')
        return dict(features, **made_by(meta, names, *(
            features[key].tolist() for key in ('pid', 'camid', 'subset'))))

    def _warn(self) -> None:
        """Log what the metrics leave out."""
        for names, what in (
                (self.result.queries_without_match, 'queries have no positive match '
                 'from another camera in the gallery and are left out of the metrics'),
                (self.result.unreadable, 'tracklets cannot be read and are left out of '
                 'the metrics')):
            if names:
                print_log(f'{len(names):,} {what}: {name_some(map(repr, names))}.',
                          logger='current', level=logging.WARNING)
        if self.result.num_queries_without_attributes:
            print_log(f'{self.result.num_queries_without_attributes:,} queries are not '
                      'in the attribute table; they count as carrying nothing.',
                      logger='current', level=logging.WARNING)

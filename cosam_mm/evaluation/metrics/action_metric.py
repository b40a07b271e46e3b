"""Metrics and score files of action recognition.

:class:`ActionMetric` reports top-k accuracy, mean class accuracy and the loss that
learning-rate schedules follow; :class:`DumpScores` writes the scores for late
fusion. Clips that could not be read (``unreadable`` in the sample's metainfo) are
left out of the metrics; the log names them.
"""
import logging
from collections.abc import Sequence
from typing import Optional

import numpy as np
from mmaction.evaluation import AccMetric
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from cosam_mm.evaluation.functional.confusion import class_accuracy, true_class_losses
from cosam_mm.evaluation.functional.score_fusion import (
    check_finite,
    top_k_accuracy,
)
from cosam_mm.evaluation.provenance import MADE_BY, list_sha256, made_by
from cosam_mm.registry import METRICS
from cosam_mm.utils.io import read_arrays, write_results

__all__ = ['ActionMetric', 'DumpScores', 'load_scores', 'save_scores']

_SCORE_TYPES = ('logit', 'prob')


def _check_score_type(score_type: str) -> None:
    if score_type not in _SCORE_TYPES:
        raise ValueError(
            f'score_type must be one of {_SCORE_TYPES}, got {score_type!r}.')


def _record(sample: dict) -> dict:
    """What the metrics keep of a sample: a score also from half precision."""
    if sample['gt_label'].numel() != 1:
        raise ValueError(
            f'{sample.get("sample_id")!r} has {sample["gt_label"].numel()} labels: '
            'several labels of a clip (multi_class) are not supported.')
    return dict(
        sample_id=sample.get('sample_id'),
        score=sample['pred_score'].float().cpu().numpy(),
        label=int(sample['gt_label'].item()),
        unreadable=bool(sample.get('unreadable', False)))


@METRICS.register_module()
class ActionMetric(AccMetric):
    """Top-k accuracy, mean class accuracy and loss, without unreadable clips.

    Keys: ``acc/top<k>`` for each k, ``acc/mean1``, ``acc/cross_entropy`` (not "loss":
    mmengine's log shows averages over time for names with that word) and, when there
    are any, ``acc/num_unreadable``; of a part of a test list, or of HMDB51's or
    UCF101's, also ``acc/num_clips`` and ``acc/num_listed``. A test of a checkpoint
    adds what made it, see ``provenance.py``. Ties rank as in ``top_k_accuracy``.
    Samples show up as unreadable when ``PackActionInputs`` has 'unreadable' and
    'sample_id' among its meta_keys.

    Args:
        topk: The k to report.
        score_type: What the head puts out: 'logit' where it averages raw scores over
            clips (average_clips='score'), 'prob' where it averages probabilities: rows
            that sum to 1, of which 0 counts as 1e-12 in the loss.
        collect_device: 'cpu' or 'gpu', for distributed runs.
        prefix: First part of the keys. Default: 'acc'.
    """

    def __init__(self, topk: Sequence[int] = (1, 3), score_type: str = 'logit',
                 collect_device: str = 'cpu', prefix: Optional[str] = None) -> None:
        super().__init__(
            metric_list=('top_k_accuracy', 'mean_class_accuracy'),
            collect_device=collect_device, prefix=prefix)
        _check_score_type(score_type)
        self.topk = (topk,) if isinstance(topk, int) else tuple(topk)
        if not self.topk or any(not isinstance(k, int) or k < 1 for k in self.topk):
            raise ValueError(f'topk must hold integers of at least 1, got {topk!r}.')
        self.score_type = score_type

    def process(self, data_batch, data_samples: Sequence[dict]) -> None:
        """Keep score, label, name and readability of each sample."""
        self.results.extend(_record(sample) for sample in data_samples)

    def compute_metrics(self, results: list) -> dict:
        """Metrics of the readable samples; see the class.

        Raises:
            ValueError: No clip is readable, or a score is NaN or infinite, as with
                :class:`~cosam_mm.engine.hooks.NaNLossHook`.
        """
        if not results:
            raise ValueError('There is no sample to evaluate.')
        unreadable = [result for result in results if result['unreadable']]
        readable = [result for result in results if not result['unreadable']]
        names = ', '.join(repr(result['sample_id']) for result in unreadable)
        if not readable:
            raise ValueError(
                f'None of the {len(results)} clips can be read, so there is nothing '
                f'to evaluate: check data_root. They are {names[:2000]}.')
        scores = [result['score'] for result in readable]
        check_finite(np.stack(scores), [result['sample_id'] for result in readable])
        metrics = self.calculate(scores, [result['label'] for result in readable])
        meta = self.dataset_meta or {}
        if meta.get('weights_sha256'):
            metrics.update(
                made_by(meta, *([result[key] for result in results]
                                for key in ('sample_id', 'label'))),
                classes_sha256=list_sha256(meta.get('classes') or ()),
                num_unreadable=0.)
        total = meta.get('num_listed', 0)
        if total > len(results):  # floats: mmengine's JSON file holds null for integers
            metrics.update(num_clips=float(len(results)), num_listed=float(total))
            print_log(f'Only {len(results):,} of the {total:,} clips of this split are '
                      'evaluated.', logger='current', level=logging.WARNING)
        if unreadable:
            metrics['num_unreadable'] = float(len(unreadable))
            print_log(
                f'{len(unreadable)} of {len(results)} clips cannot be read and are '
                f'left out of the metrics: {names}.', logger='current',
                level=logging.WARNING)
        return metrics

    def calculate(self, preds: list[np.ndarray], labels: list[int]) -> dict:
        """The metrics of K scores and one label for each sample.

        Raises:
            ValueError: ``score_type`` is 'prob', and a row does not sum to 1.
        """
        score, label = np.stack(preds).astype(np.float64), np.asarray(labels)
        metrics = {f'top{k}': accuracy for k, accuracy
                   in top_k_accuracy(score, label, self.topk).items()}
        if self.score_type == 'prob' and (
                score.min() < 0 or np.abs(score.sum(axis=1) - 1).max() > 1e-2):
            raise ValueError(
                "score_type='prob' needs rows of probabilities that sum to 1; these do "
                "not. Set score_type='logit', or average_clips='prob' in the head.")
        per_class = class_accuracy(label, np.argmax(score, axis=1), score.shape[1])
        metrics['mean1'] = float(np.nanmean(per_class.share))
        losses = true_class_losses(score, label, self.score_type)
        metrics['cross_entropy'] = float(losses.mean())
        return metrics


# What a score file holds: the type that is written, the kinds and the axes that are
# read. Version 0.1 did not write the optional ones.
_ARRAYS = dict(
    sample_id=(str, 'U', 1), score=(np.float32, 'f', 2), label=(np.int64, 'iu', 1),
    unreadable=(bool, 'b', 1), dataset=(str, 'U', 0), split=(np.int64, 'iu', 0),
    score_type=(str, 'U', 0))
_OPTIONAL = {'classes': (str, 'U', 1), **dict.fromkeys(MADE_BY, (str, 'U', 0))}


def save_scores(path: str, scores: dict) -> None:
    """Write a score file; a reader meets the old one or the whole new one.

    Args:
        path: Ends in .npz; folders are made.
        scores: What :func:`load_scores` returns; ``classes`` and what made them may
            be left out.
    """
    arrays = {key: np.asarray(scores[key], dtype)
              for key, (dtype, *_) in _ARRAYS.items()}
    write_results(path, arrays | {
        key: np.asarray(scores[key], dtype)
        for key, (dtype, *_) in _OPTIONAL.items() if key in scores})


def load_scores(path: str) -> dict:
    """Read a score file, as :class:`DumpScores` writes it; nothing in it is executed.

    Returns:
        ``sample_id`` (N,) str, ``score`` (N, K) float32, ``label`` (N,) int64,
        ``unreadable`` (N,) bool (such scores mean nothing), and plain values:
        ``dataset`` ('' where unknown), ``split`` (0 where unknown), ``score_type``;
        ``classes`` (K,) str, and the entries of ``MADE_BY``: empty where unknown.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no score file, or its arrays do not fit each other.
    """
    arrays = read_arrays(path, 'score file')
    missing = [key for key in _ARRAYS if key not in arrays]
    if missing:
        raise ValueError(
            f'{path} is not a score file: it lacks {missing}, it has '
            f'{sorted(arrays)}. Write one with tools/test.py and DumpScores.')
    num, expected = arrays['sample_id'].size, _ARRAYS | _OPTIONAL
    for key, (dtype, kinds, num_axes) in expected.items():
        array = arrays.setdefault(key, np.zeros((0,) * num_axes, dtype))
        lengths = (0, *arrays['score'].shape[1:]) if key == 'classes' else (num,)
        if array.dtype.kind not in kinds or array.ndim != num_axes or (
                num_axes and len(array) not in lengths):
            raise ValueError(
                f'{path}: {key!r} is {array.dtype} of shape {array.shape}, which '
                f'does not fit {num} clip names: N names, N labels, (N, K) '
                'scores and K or no classes are expected.')
    return {key: arrays[key] if num_axes else arrays[key].item()
            for key, (_, _, num_axes) in expected.items()}


@METRICS.register_module()
class DumpScores(BaseMetric):
    """Write the scores of a test to a file for ``tools/fuse_scores.py``.

    It reports no metric. ``PackActionInputs`` must have 'sample_id' among its
    meta_keys, and 'unreadable' to mark clips that could not be read.

    Args:
        out_file: Path ending in .npz; see :func:`load_scores`.
        score_type: As for :class:`ActionMetric`; written to the file.
        kwargs: ``collect_device`` and ``collect_dir`` of mmengine's BaseMetric.
    """

    default_prefix = 'scores'

    def __init__(self, out_file: str, score_type: str = 'logit',
                 **kwargs: Optional[str]) -> None:
        super().__init__(**kwargs)
        _check_score_type(score_type)
        if not str(out_file).endswith('.npz'):
            raise ValueError(f'out_file must end in .npz, got {str(out_file)!r}.')
        self.out_file = str(out_file)
        self.score_type = score_type

    def process(self, data_batch, data_samples: Sequence[dict]) -> None:
        """Keep score, label, name and readability of each sample."""
        for sample in data_samples:
            if sample.get('sample_id') is None:
                raise ValueError(
                    "A sample has no 'sample_id'. Add it to meta_keys of "
                    'PackActionInputs; use ActionVideoDataset or ActionFrameDataset.')
            self.results.append(_record(sample))

    def compute_metrics(self, results: list) -> dict:
        """Write the file."""
        if not results:
            raise ValueError(f'There is no score to write to {self.out_file}.')
        meta = self.dataset_meta or {}
        scores = {key: [result[key] for result in results]
                  for key in ('sample_id', 'score', 'label', 'unreadable')}
        scores.update(made_by(meta, scores['sample_id'], scores['label']),
                      dataset=meta.get('dataset', ''), split=meta.get('split', 0),
                      score_type=self.score_type, classes=meta.get('classes') or ())
        save_scores(self.out_file, scores)
        print_log(f'Scores of {len(results)} clips are in {self.out_file}.',
                  logger='current')
        return {}

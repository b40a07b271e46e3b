"""Results of an action recognition test, read from a score file."""
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import PurePosixPath
from typing import Optional

import numpy as np

from cosam_mm.datasets.preparation.annotation_files import read_class_names
from cosam_mm.evaluation.functional import confusion
from cosam_mm.evaluation.functional.score_fusion import (
    align_by_id,
    check_finite,
    class_probabilities,
    top_k_accuracy,
)
from cosam_mm.evaluation.metrics.action_metric import load_scores
from cosam_mm.evaluation.provenance import MADE_BY, describe_other_classes
from cosam_mm.utils.io import PathLike, read_checkpoint

from .report.work_dir_collection import get_in

__all__ = ['ActionComparison', 'ActionResults', 'compare_results', 'find_class_names',
           'read_results']

# Their confusion matrix takes 200 MB, and a small file may claim any number.
# EPIC-KITCHENS-100 has 4,053 actions (Damen et al., IJCV 2022).
_MAX_CLASSES = 5_000


@dataclass(frozen=True, eq=False)
class ActionResults:
    """The readable clips of a test: N clips, K classes."""
    path: str              # of the score file
    dataset: str           # its name; '' if unknown
    split: int             # number of the official split; 0 if unknown
    score_type: str        # 'logit' or 'prob'
    sample_id: np.ndarray  # (N,) names
    label: np.ndarray      # (N,) true classes
    score: np.ndarray      # (N, K)
    unreadable: tuple[str, ...] = ()  # names of clips that no metric counts
    classes: tuple[str, ...] = ()  # K names; none where the file does not tell them
    made_by: Mapping[str, str] = field(default_factory=dict)  # see provenance.py

    @property
    def num_classes(self) -> int:
        """K."""
        return self.score.shape[1]

    @cached_property
    def predicted(self) -> np.ndarray:
        """(N,) predicted classes; of equal scores the lower one."""
        return np.argmax(self.score, axis=1)

    @property
    def is_right(self) -> np.ndarray:
        """(N,) bool."""
        return self.predicted == self.label

    @cached_property
    def probability(self) -> np.ndarray:
        """(N, K)."""
        return self.score.astype(np.float64) if self.score_type == 'prob' \
            else class_probabilities(self.score)

    @cached_property
    def loss(self) -> np.ndarray:
        """(N,) cross-entropy."""
        return confusion.true_class_losses(self.score, self.label, self.score_type)

    @cached_property
    def matrix(self) -> np.ndarray:
        """(K, K) confusion matrix."""
        return confusion.confusion_matrix(self.label, self.predicted, self.num_classes)

    @cached_property
    def class_accuracy(self) -> confusion.ClassAccuracy:
        """Right clips of each class."""
        return confusion.class_accuracy(self.label, self.predicted, self.num_classes)

    def metrics(self, ks: Sequence[int] = (1, 3)) -> dict[str, float]:
        """'top1', ... (for k below the number of classes), 'mean1', 'cross_entropy'."""
        ks = [k for k in ks if k == 1 or k < self.num_classes]
        shares = top_k_accuracy(self.score, self.label, ks)
        return {**{f'top{k}': share for k, share in shares.items()},
                'mean1': float(np.nanmean(self.class_accuracy.share)),
                'cross_entropy': float(self.loss.mean())}

    def pairs(self, topk: int) -> list[confusion.ConfusedPair]:
        """The most confused pairs, each with its most confident mistakes first."""
        confidence = self.probability.max(axis=1)
        return [pair._replace(rows=tuple(sorted(
            pair.rows, key=lambda row: -confidence[row])))
            for pair in confusion.most_confused_pairs(self.label, self.predicted, topk)]

    def hardest(self, topk: int) -> np.ndarray:
        """Rows of the clips with the lowest probability of the true class."""
        return np.argsort(-self.loss, kind='stable')[:topk]

    def nearest(self, topk: int) -> np.ndarray:
        """Rows of the wrong clips with the highest probability of the true class."""
        wrong = np.flatnonzero(~self.is_right)
        return wrong[np.argsort(self.loss[wrong], kind='stable')[:topk]]

    def own_probability(self, row: int) -> float:
        """Probability of the true class."""
        return float(self.probability[row, self.label[row]])

    def predicted_probability(self, row: int) -> float:
        """Probability of the predicted class."""
        return float(self.probability[row].max())

    def verdict(self, row: int, names: Sequence[str]) -> str:
        """The prediction: 'run (80.0%)'."""
        return (f'{names[self.predicted[row]]} '
                f'({self.predicted_probability(row):.1%})')

    def mistake(self, row: int, names: Sequence[str]) -> str:
        """'walk taken for run', or 'walk, rightly'."""
        true = names[self.label[row]]
        return f'{true}, rightly' if self.is_right[row] \
            else f'{true} taken for {names[self.predicted[row]]}'

    def certainty(self, row: int) -> str:
        """'true class 12.0%, predicted 80.0%'."""
        return (f'true class {self.own_probability(row):.1%}, predicted '
                f'{self.predicted_probability(row):.1%}')

    def take(self, rows: np.ndarray) -> 'ActionResults':
        """The clips of some rows, in their order."""
        return replace(self, **{key: getattr(self, key)[rows]
                                for key in ('sample_id', 'label', 'score')})


def read_results(path: PathLike) -> ActionResults:
    """Read a score file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no score file, its labels do not fit, it holds no readable
            clip, a score is NaN or infinite, or it has more than 5,000 classes.
    """
    path = os.fspath(path)
    scores = load_scores(path)
    if (count := scores['score'].shape[1]) > _MAX_CLASSES:
        raise ValueError(f'{path} has {count:,} classes; a confusion matrix is made of '
                         f'{_MAX_CLASSES:,} at most.')
    readable = ~scores['unreadable']
    if not readable.any():
        raise ValueError(f'{path} holds {len(readable)} clips, none of which could be '
                         'read.')
    results = ActionResults(
        path, scores['dataset'], scores['split'], scores['score_type'],
        scores['sample_id'], scores['label'], scores['score'],
        tuple(scores['sample_id'][~readable].tolist()),
        tuple(scores['classes'].tolist()), {key: scores[key] for key in MADE_BY}
    ).take(readable)
    try:
        check_finite(results.score, results.sample_id)
        top_k_accuracy(results.score, results.label, [1])
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from None
    return results


# -- names of classes ------------------------------------------------------------


def find_class_names(results: ActionResults, classes: Optional[PathLike] = None,
                     data_root: Optional[PathLike] = None,
                     dataset: Optional[Mapping] = None,
                     checkpoint: Optional[PathLike] = None) -> tuple[str, ...]:
    """K names of the classes: of a file, else those in the score file, else from the
    first source that has them.

    Without a source, a class is named after the folder that holds its clips and no
    others, or 'class 7' if there is no such folder.

    Args:
        results: Whose classes to name.
        classes: File with one name per line.
        data_root: Folder with ``<data set>_classes.txt``.
        dataset: Settings of a config's data set, with ``metainfo.classes``.
        checkpoint: Trained on a data set with class names.

    Raises:
        FileNotFoundError: ``classes`` or ``checkpoint`` is given and does not exist.
        ValueError: The number of names is not K, a file is damaged, or it names the
            classes of the score file in another order.
    """
    if classes is not None and not os.path.isfile(classes):
        raise FileNotFoundError(f'There is no class file {os.fspath(classes)}.')
    if results.classes:
        return _check_order(results, classes)
    name = results.dataset or (dataset or {}).get('name', '')
    listed = os.path.join(data_root or '', f'{name}_classes.txt')
    # A name with a separator would lead out of the data root.
    if classes is None and data_root and name == os.path.basename(name) \
            and os.path.isfile(listed):
        classes = listed
    if classes is not None:
        return read_class_names(os.fspath(classes), results.num_classes)
    names = get_in(dataset, 'metainfo', 'classes')
    if names is None and checkpoint is not None:
        names = get_in(read_checkpoint(os.fspath(checkpoint)), 'meta', 'dataset_meta',
                        'classes')
    if names is None:
        folders: dict[int, set[str]] = {}
        for sample_id, label in zip(results.sample_id.tolist(), results.label.tolist()):
            folders.setdefault(label, set()).add(PurePosixPath(sample_id).parent.name)
        taken = [name for own in folders.values() for name in own]
        names = [f'class {k}' for k in range(results.num_classes)]
        for label, (name, *others) in folders.items():
            if name and not others and taken.count(name) == 1:
                names[label] = name
    if len(names) != results.num_classes:
        raise ValueError(f'{len(names)} names are given for the {results.num_classes} '
                         f'classes of {results.path}.')
    return tuple(map(str, names))


def _check_order(results: ActionResults, file: Optional[PathLike]) -> tuple[str, ...]:
    """The classes of a score file, or other names of them out of a file."""
    if file is None:
        return results.classes
    names = read_class_names(os.fspath(file), results.num_classes)
    if sorted(names) == sorted(results.classes) and names != results.classes:
        raise ValueError(describe_other_classes(
            results.classes, names, (results.path, os.fspath(file))) + '.')
    return names


# -- two results -----------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class ActionComparison:
    """Two models on the clips that both could read."""
    first: ActionResults
    second: ActionResults   # of the same clips in the same order
    outcome: confusion.PairedOutcome  # which clips each model gets right

    @property
    def class_gain(self) -> np.ndarray:
        """(2, K) clips of each class that the second model wins and loses."""
        return np.stack([
            np.bincount(self.first.label[rows], minlength=self.first.num_classes)
            for rows in (self.outcome.only_second, self.outcome.only_first)])

    def changed(self) -> list[tuple[int, bool]]:
        """Rows that one model alone gets right, and whether it is the second.

        Clips won come first, the most confident ones first among won and lost.
        """
        def sort(rows: np.ndarray, side: ActionResults) -> list[int]:
            return sorted(rows.tolist(), key=lambda row: -side.own_probability(row))

        return [*((row, True) for row in sort(self.outcome.only_second, self.second)),
                *((row, False) for row in sort(self.outcome.only_first, self.first))]

    def describe_p_value(self) -> str:
        """Say how likely chance alone makes such a difference."""
        num_second = len(self.outcome.only_second)
        return (f'Of the {len(self.outcome.only_first) + num_second} clips that one '
                f'model alone gets right, the second has {num_second}; chance alone is '
                f'as uneven with p = {self.outcome.p_value:.2g} '
                "(McNemar's exact test; other training runs may differ by more).")


def compare_results(first: ActionResults, second: ActionResults) -> ActionComparison:
    """Match two results clip by clip.

    Raises:
        ValueError: They are not of the same clips, labels and classes, or no clip
            could be read by both.
    """
    where = f'{first.path} and {second.path} are not of one test'
    if first.num_classes != second.num_classes:
        raise ValueError(f'{where}: they have {first.num_classes} and '
                         f'{second.num_classes} classes.')
    if problem := describe_other_classes(first.classes, second.classes,
                                         (first.path, second.path)):
        raise ValueError(f'{where}: {problem}.')
    first, second = (one.take(np.flatnonzero(~np.isin(one.sample_id, other.unreadable)))
                     for one, other in ((first, second), (second, first)))
    if not len(first.label) or not len(second.label):
        raise ValueError(f'{where}: no clip could be read in both.')
    try:
        _, order = align_by_id([first.sample_id, second.sample_id],
                               [first.label, second.label])
    except ValueError as error:
        raise ValueError(f'{where} (streams 0 and 1): {error}') from None
    second = second.take(order)
    return ActionComparison(first, second,
                            confusion.compare_clips(first.is_right, second.is_right))

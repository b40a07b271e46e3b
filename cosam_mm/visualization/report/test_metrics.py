"""The figures of a test, as they were written down and as they are read."""
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from .work_dir import WorkDir
from .work_dir_collection import TEST_FIGURE, read_test_log

__all__ = ['ORIGINS', 'RERANKED', 'Rating', 'find_rating', 'label_figure',
           'show_figure']

# Where figures come from, and what that adds to their names.
ORIGINS = dict(test='', splits=', mean of the splits', validation=' in validation')
RERANKED = ', re-ranked'
_LABELS = dict(mean1='Mean class accuracy', cross_entropy='Cross-entropy',
               num_unreadable='Unreadable clips', num_queries='Queries',
               num_gallery='Gallery tracklets', num_valid_queries='Valid queries',
               num_queries_without_truth='Queries without a true match',
               rerank='Re-ranking', clip_sampling='Clips of a tracklet')
_SHARE = re.compile(r'(\w+_)?(top\d+|mean1|mAP|mINP|R\d+)')


class Rating(NamedTuple):
    """What a model was rated with.

    Attributes:
        values: By the name that the metric gave them, as ``acc/top1``.
        origin: One of ``ORIGINS``; '' where there are none.
    """
    values: dict[str, Any]
    origin: str


def find_rating(found: WorkDir) -> Rating:
    """The mean of all splits, else the last test, else the last validation."""
    splits = _all_splits(found.root)
    if splits:
        return Rating(splits, 'splits')
    for log in reversed(found.test_logs):
        try:
            return Rating(read_test_log(log), 'test')
        except (ValueError, OSError):
            continue
    for log in reversed(found.training_logs):
        validated = _last_validation(log)
        if validated:
            return Rating(validated, 'validation')
    return Rating({}, '')


def _all_splits(root: Path) -> dict[str, float]:
    """Means that ``tools/test.py --all-splits`` wrote down."""
    for path in sorted([root / 'all_splits.json', *root.glob('*/all_splits.json')]):
        try:
            content = json.loads(path.read_text(encoding='utf-8'))
            return {name: float(value['mean']) for name, value in content.items()
                    if TEST_FIGURE.fullmatch(name)}
        except (ValueError, OSError, TypeError, KeyError, AttributeError):
            continue
    return {}


def _last_validation(log: Path) -> dict[str, Any]:
    figures = {}
    try:
        with open(log, encoding='utf-8', errors='replace') as lines:
            for line in lines:
                figures = _validation(line) or figures
    except OSError:
        return {}
    return figures


def _validation(line: str) -> dict[str, Any]:
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return {} if not isinstance(content, dict) else {
        name: value for name, value in content.items() if TEST_FIGURE.fullmatch(name)
        and isinstance(value, (int, float, str))}


# -- words ---------------------------------------------------------------------------


def label_figure(name: str) -> str:
    """A figure's name as it is read.

    >>> [label_figure(name) for name in ('acc/top5', 'reid/rerank_mAP', 'a/num_rows')]
    ['Top-5 accuracy', 'mAP, re-ranked', 'Num rows']
    """
    own = name.rpartition('/')[2]
    if own in _LABELS:
        return _LABELS[own]
    if re.fullmatch(r'top\d+', own):
        return f'Top-{own[3:]} accuracy'
    if own.startswith('rerank_'):
        return label_figure(own[7:]) + RERANKED
    if re.fullmatch(r'mAP|mINP|R\d+', own):
        return own
    words = own.replace('_', ' ')
    return words[:1].upper() + words[1:]


def show_figure(name: str, value: Any) -> str:
    """A figure as it is read: shares in per cent.

    >>> show_figure('acc/top1', 0.5), show_figure('acc/cross_entropy', 0.25)
    ('50.0 %', '0.2500')
    """
    if isinstance(value, str):
        return value
    if _SHARE.fullmatch(name.rpartition('/')[2]):
        return f'{100 * value:.1f} %'
    return f'{value:,.0f}' if float(value).is_integer() else f'{value:.4f}'

"""What made the numbers of a test: written beside them, compared where they are used.

    weights_sha256   of the checkpoint, see ``apis/model_loading.py``
    checkpoint       name of its file, for messages
    list_sha256      of what was rated: names and labels, in their order

:class:`~cosam_mm.engine.hooks.SplitLeakageHook` tells the metrics of a test whose
weights they rate. Files of earlier versions, and tests without the hook, say nothing:
'' then, and tools say that they do not know.
"""
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Optional

__all__ = ['MADE_BY', 'UNKNOWN', 'describe_other_classes', 'describe_other_weights',
           'join', 'list_sha256', 'made_by']

MADE_BY = ('weights_sha256', 'checkpoint', 'list_sha256')
# Between what several streams were made by, in fused scores.
_AND = ' + '
UNKNOWN = 'no file says which weights made them'


def list_sha256(*columns: Sequence) -> str:
    """SHA-256 of the rows of some columns, as text, with tabs between the fields."""
    rows = ('\t'.join(map(str, row)) + '\n' for row in zip(*columns))
    return hashlib.sha256(''.join(rows).encode('utf-8', 'surrogateescape')).hexdigest()


def made_by(dataset_meta: Optional[Mapping], *columns: Sequence) -> dict[str, str]:
    """The entries of ``MADE_BY``.

    Args:
        dataset_meta: Of a metric, with what the hook told.
        columns: Of the list that was rated: names, labels, ...
    """
    known = dataset_meta or {}
    return dict({key: str(known.get(key) or '') for key in MADE_BY},
                list_sha256=list_sha256(*columns))


def join(streams: Sequence[Mapping]) -> dict[str, str]:
    """What fused scores were made by; '' where a stream does not say."""
    out = {}
    for key in ('weights_sha256', 'checkpoint'):
        values = [stream.get(key, '') for stream in streams]
        out[key] = _AND.join(values) if all(values) else ''
    return out


def describe_other_weights(made: Mapping[str, Any], own: str, name: str) -> str:
    """Say that numbers are not of a checkpoint's weights, or ``UNKNOWN``; else ''.

    Args:
        made: With the entries of ``MADE_BY``, as far as they are known.
        own: ``weights_sha256`` of the checkpoint.
        name: Of its file.
    """
    theirs = str(made.get('weights_sha256') or '')
    if theirs == own:
        return ''
    if not theirs:
        return UNKNOWN
    if _AND in theirs:
        return f'they are fused of several models: {made.get("checkpoint")}'
    return (f'they are of another checkpoint ({made.get("checkpoint") or "no name"}, '
            f'weights {theirs[:12]}) than {name} (weights {own[:12]})')


def describe_other_classes(first: Sequence[str], second: Sequence[str],
                           where: tuple[str, str]) -> str:
    """Say where two lists of class names part; '' if they agree or one is empty."""
    for label, (one, other) in enumerate(zip(first, second)):
        if one != other:
            return (f'Label {label} is {str(one)!r} in {where[0]} and {str(other)!r} '
                    f'in {where[1]}')
    return ''

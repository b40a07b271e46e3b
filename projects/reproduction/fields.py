"""Mappings that people wrote, checked key by key before anything is made of them."""
import math
from collections.abc import Mapping, Sequence
from typing import Any, Optional

__all__ = ['check_choice', 'check_keys', 'check_mapping', 'check_number', 'check_text']


def check_keys(content: Any, where: str, required: Sequence[str],
               optional: Sequence[str] = ()) -> None:
    """Refuse what is no mapping of just these keys.

    Args:
        content: What was read.
        where: Begins each message: the file, and the place in it.
        required: Keys that must be there.
        optional: Keys that may be there.

    Raises:
        ValueError: It is no mapping, lacks a key or has another one.
    """
    if not isinstance(content, Mapping):
        raise ValueError(f'{where}: must be a mapping, got {content!r}.')
    missing = [key for key in required if key not in content]
    if missing:
        raise ValueError(f'{where}: lacks {missing}; it needs {list(required)}.')
    unknown = [key for key in content if key not in {*required, *optional}]
    if unknown:
        raise ValueError(f'{where}: has the unknown keys {unknown}; allowed are '
                         f'{[*required, *optional]}.')


def check_text(content: Any, where: str, may_be_empty: bool = False) -> str:
    """A string, without space around it.

    Raises:
        ValueError: It is no string, or an empty one.
    """
    if not isinstance(content, str) or not (content.strip() or may_be_empty):
        raise ValueError(f'{where}: must be a text, got {content!r}.')
    return content.strip()


def check_choice(content: Any, where: str, allowed: Sequence[str]) -> str:
    """One of some strings.

    Raises:
        ValueError: It is another one.
    """
    if content not in allowed:
        raise ValueError(f'{where}: must be one of {tuple(allowed)}, got {content!r}.')
    return content


def check_number(content: Any, where: str, least: float = -math.inf,
                 most: float = math.inf) -> float:
    """A finite number in a range.

    Raises:
        ValueError: It is no number, not finite or out of the range.
    """
    is_number = isinstance(content, (int, float)) and not isinstance(content, bool)
    if not is_number or not math.isfinite(content) or not least <= content <= most:
        bounds = '' if math.isinf(least) else f' of at least {least:g}' \
            if math.isinf(most) else f' from {least:g} to {most:g}'
        raise ValueError(f'{where}: must be a finite number{bounds}, got {content!r}.')
    return float(content)


def check_mapping(content: Any, where: str,
                  none_is: Optional[Mapping] = None) -> dict[str, Any]:
    """A mapping whose keys are strings.

    Args:
        content: What was read.
        where: Begins each message.
        none_is: What None stands for, if it may stand for anything.

    Raises:
        ValueError: It is none.
    """
    if content is None and none_is is not None:
        return dict(none_is)
    if not isinstance(content, Mapping) or not all(
            isinstance(key, str) for key in content):
        raise ValueError(f'{where}: must be a mapping of names to values, got '
                         f'{content!r}.')
    return dict(content)

"""Samples that cannot be read, on their way from a pipeline to whoever keeps count.

    transform      notes in ``results`` what it could not read, and why
    data set       puts the notes into the metainfo of the sample that comes out,
                   those of samples that it stands in for among them
    loader         carries it from the worker to the process that trains
    hook           counts and lists them, see ``engine/hooks/bad_samples.py``

A sample without notes is as it would be without all this.
"""
from collections.abc import Mapping
from typing import Any, Callable, NamedTuple, Optional

__all__ = ['BLANK', 'REPLACED', 'SKIPPED', 'BadSample', 'attach_notes', 'draw_readable',
           'note_bad', 'notes_of']

# What becomes of a sample, or of a frame of one.
SKIPPED = 'skipped'  # another sample takes its place
BLANK = 'blank'  # black frames stand in; no figure counts it
REPLACED = 'replaced'  # of a frame: another one of the same tracklet takes its place

# Of a pipeline's results, and of a data sample's metainfo.
_KEY = 'bad_samples'


class BadSample(NamedTuple):
    """What could not be read.

    Attributes:
        outcome: SKIPPED, BLANK or REPLACED.
        name: File, folder or tracklet.
        reason: In one line.
    """
    outcome: str
    name: str
    reason: str


def note_bad(results: dict, outcome: str, name: str, reason: Any) -> None:
    """Note in a pipeline's results what could not be read.

    Args:
        results: What transforms pass on. A data set that wants the notes has put an
            empty list into it, which it keeps even if the pipeline gives None.
        outcome: SKIPPED, BLANK or REPLACED.
        name: File, folder or tracklet.
        reason: An error, or words.
    """
    results.setdefault(_KEY, []).append(BadSample(outcome, str(name), str(reason)))


def notes_of(sample: Any) -> list[BadSample]:
    """The notes of a data sample; an empty list where there are none."""
    metainfo = getattr(sample, 'metainfo', None) or {}
    return [BadSample(*note) for note in metainfo.get(_KEY, ())]


def attach_notes(data: Any, notes: list[BadSample]) -> Any:
    """Put notes into the metainfo of what a pipeline gave, if it has any."""
    sample = data.get('data_samples') if isinstance(data, Mapping) else None
    if notes and hasattr(sample, 'set_metainfo'):
        sample.set_metainfo({_KEY: notes})
    return data


def draw_readable(
    idx: int, attempts: int, get_item: Callable[[int], dict],
    pipeline: Callable[[dict], Optional[dict]], draw: Callable[[], int], name_key: str
) -> tuple[Optional[dict], list[str]]:
    """A sample with its notes, or another in its place where it cannot be read.

    Args:
        idx: Number of the sample.
        attempts: How many samples are tried.
        get_item: From a number to what the pipeline starts from.
        pipeline: Gives None for what it cannot read.
        draw: The number of another sample.
        name_key: Key of an item's name.

    Returns:
        The sample, or None where every attempt failed; names of those that failed.
    """
    refused, notes = [], []
    for attempt in range(attempts):
        item = get_item(draw() if attempt else idx)
        name, own = item[name_key], []
        data = pipeline({**item, _KEY: own})
        notes += own
        if data is not None:
            return attach_notes(data, notes), refused
        refused.append(name)
        if not any(note.outcome == SKIPPED for note in own):
            notes.append(BadSample(SKIPPED, name, 'a transform gave None'))
    return None, refused

"""Samples that cannot be read: named, counted, and given up where reading hangs.

    transform      notes in ``results`` what it could not read, and why
    data set       puts the notes into the metainfo of the sample that comes out,
                   those of samples that it stands in for among them
    loader         carries it from the worker to the process that trains
    hook           counts and lists them, see ``unreadable_samples_hook.py``

A sample without notes is as it would be without all this.

Decoders read files that never end, and system calls wait for disks that do not answer.
Neither can be interrupted from Python. So :func:`within` calls them in a thread of its
own, and whoever waits goes on without it when nothing was read for so long: with all
that it gets a reader calls :func:`tick`, so a long video takes the time it needs. The
thread is left behind: it ends at its next :func:`tick`, when the library notices
(:func:`library_timeout`), when the call comes back, or with the process. A process may
leave ``MAX_GIVEN_UP`` of them, and no file gets a second one.
"""
import atexit
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from contextvars import ContextVar
from functools import lru_cache
from queue import Empty, SimpleQueue
from threading import Thread
from time import monotonic
from typing import Any, Callable, NamedTuple, Optional

from cosam_mm.utils.messages import name_some

__all__ = [
    'BLANK', 'CUT', 'MAX_GIVEN_UP', 'REPLACED', 'SKIPPED', 'TIME_LIMIT',
    'DecoderFailed', 'ReadableItems', 'UnreadableSample', 'UnreadableVideo',
    'attach_notes', 'check_time_limit', 'each_within', 'forget_given_up',
    'library_timeout', 'load_readable', 'log_once', 'note_unreadable', 'notes_of',
    'tick', 'within'
]

# What becomes of a sample, or of a frame of one.
SKIPPED = 'skipped'  # another sample takes its place
BLANK = 'blank'  # black frames stand in; no metric counts it
CUT = 'cut off'  # the file ends early; the frames that are there are used
REPLACED = 'replaced'  # of a frame: another one of the same tracklet takes its place

# Of a pipeline's results, and of a data sample's metainfo.
_KEY = 'unreadable_samples'

# Seconds that a reader may wait for the next piece of a file. It takes milliseconds.
TIME_LIMIT = 60.
# Calls that a process leaves behind before it takes the disk for broken.
MAX_GIVEN_UP = 8
# Seconds that an interrupted wait goes on: a decoder that came back while Python ends
# would abort the process.
GRACE_SECONDS = 1.

# Seconds that Python waits before it ends for calls that were left behind.
END_SECONDS = 5.

_given_up: dict[str, float] = {}
_left_behind: list[Thread] = []
# When the reading that a thread does for `within` last got something, and how long it
# may wait; empty where nobody waits for it any more.
_last_tick: ContextVar[Optional[list]] = ContextVar('last_tick', default=None)


class UnreadableVideo(RuntimeError):
    """A video cannot be decoded; the message says why."""


class DecoderFailed(UnreadableVideo):
    """A library is absent or does not get on with a file; another one may."""


class UnreadableSample(NamedTuple):
    """What could not be read."""
    outcome: str  # SKIPPED, BLANK, CUT or REPLACED
    name: str  # file, folder or tracklet
    reason: str  # in one line


def note_unreadable(results: dict, outcome: str, name: str, reason: Any) -> None:
    """Note in a pipeline's results what could not be read.

    Args:
        results: What transforms pass on. A data set that wants the notes has put an
            empty list into it, which it keeps even if the pipeline gives None.
        outcome: SKIPPED, BLANK, CUT or REPLACED.
        name: File, folder or tracklet.
        reason: An error, or words.
    """
    note = UnreadableSample(outcome, str(name), str(reason))
    results.setdefault(_KEY, []).append(note)


def notes_of(sample: Any) -> list[UnreadableSample]:
    """The notes of a data sample; an empty list where there are none."""
    metainfo = getattr(sample, 'metainfo', None) or {}
    return [UnreadableSample(*note) for note in metainfo.get(_KEY, ())]


def attach_notes(data: Any, notes: list[UnreadableSample]) -> Any:
    """Put notes into the metainfo of what a pipeline gave, if it has any."""
    sample = data.get('data_samples') if isinstance(data, Mapping) else None
    if notes and hasattr(sample, 'set_metainfo'):
        sample.set_metainfo({_KEY: notes})
    return data


@lru_cache(maxsize=10_000)
def log_once(message: str, level: int) -> None:
    """Log a message unless this process did so before."""
    from mmengine.logging import print_log  # loads torch, which frames do not need
    print_log(message, logger='current', level=level)


def load_readable(
    idx: int, attempts: int, get_item: Callable[[int], dict],
    pipeline: Callable[[dict], Optional[dict]], choose: Callable[[], int], name_key: str
) -> tuple[Optional[dict], list[str]]:
    """A sample with its notes, or another in its place where it cannot be read.

    Args:
        idx: Number of the sample.
        attempts: How many samples are tried.
        get_item: From a number to what the pipeline starts from.
        pipeline: Gives None for what it cannot read.
        choose: Gives the number of another sample.
        name_key: Key of an item's name.

    Returns:
        The sample, or None where every attempt failed; names of those that failed.
    """
    refused, notes = [], []
    for attempt in range(attempts):
        item = get_item(choose() if attempt else idx)
        name, own = item[name_key], []
        data = pipeline({**item, _KEY: own})
        notes += own
        if data is not None:
            return attach_notes(data, notes), refused
        refused.append(name)
        if not any(note.outcome == SKIPPED for note in own):
            notes.append(UnreadableSample(SKIPPED, name, 'a transform gave None'))
    return None, refused


class ReadableItems:
    """What data sets of clips and tracklets have in common, before mmengine's class.

    Subclasses set ``name_key`` and ``class_key`` of their items, and ``hint``: what to
    do where files are missing.
    """

    name_key: str
    class_key: str
    hint: str

    def get_cat_ids(self, idx: int) -> list:
        """Label or person of an item, for mmengine's ``ClassBalancedDataset``."""
        return [self.get_data_info(idx)[self.class_key]]

    def __getitem__(self, idx: int) -> dict:
        """The item ``idx``, or in training another where it cannot be read."""
        data, refused = load_readable(
            idx, 1 if self.test_mode else self.max_refetch + 1, self.get_data_info,
            self.pipeline, self._rand_another, self.name_key)
        if data is not None:
            return data
        advice = f'Check the files. {self.hint}' if not self.test_mode else (
            "Set on_unreadable='blank' in the loading transforms of the test pipeline "
            'to leave such samples out of the metrics.')
        names = name_some(map(repr, dict.fromkeys(refused)))
        raise RuntimeError(
            f'No sample of {self.data_root!r} came out of the pipeline in '
            f'{len(refused)} attempt(s): {names} cannot be read (the warnings say '
            f'why). {advice}')


# -- reading that hangs ----------------------------------------------------------


def check_time_limit(seconds: float) -> None:
    """Raise a ValueError unless it is a positive number of seconds."""
    if not isinstance(seconds, (int, float)) or not seconds > 0:
        raise ValueError(f'time_limit must be a positive number of seconds, got '
                         f'{seconds!r}.')


def forget_given_up() -> None:
    """Let files that were given up be tried again."""
    _given_up.clear()


def tick() -> None:
    """Say that reading goes on; the time that :func:`within` waits starts anew."""
    last = _last_tick.get()
    if last is not None:
        if not last:
            raise TimeoutError('it was given up')
        last[0] = monotonic()


def library_timeout() -> float:
    """Seconds after which a library should end a read: :func:`within` does so first.

    Left to itself it would go on, and take a core from the others.
    """
    last = _last_tick.get()
    return (last[1] if last else TIME_LIMIT) + GRACE_SECONDS


def within(seconds: float, path: str, function: Callable, *args) -> Any:
    """What a function returns or raises, unless it hangs.

    Args:
        seconds: How long it may take from one :func:`tick` to the next.
        path: The file that it reads.
        function: Called with ``args`` in a thread of its own. It may decode and copy,
            but not compute with torch: each new thread would bring threads of its own.

    Raises:
        TimeoutError: It hangs, or reading this file did before.
        RuntimeError: This process has left ``MAX_GIVEN_UP`` calls behind.
    """
    path, outcome, last = str(path), SimpleQueue(), [monotonic(), seconds]
    if path in _given_up:
        raise TimeoutError(f'given up after {_given_up[path]:g} s without data before')

    def call() -> None:
        _last_tick.set(last)
        try:
            outcome.put((function(*args), None))
        except BaseException as error:  # it is raised where it is waited for
            outcome.put((None, error))

    thread = Thread(target=call, daemon=True, name=f'reading {path}')
    thread.start()
    result, error = _wait(outcome, last, seconds)
    if isinstance(error, Empty):
        last.clear()
        _left_behind.append(thread)
        error = _give_up(path, seconds)
    if error is not None:
        raise error
    return result


def _wait(outcome: SimpleQueue, last: list, seconds: float) -> tuple:
    """(result, error); the error is Empty where nothing came for so long."""
    try:
        while True:
            try:
                return outcome.get(timeout=max(last[0] + seconds - monotonic(), 0))
            except Empty as error:
                if last[0] + seconds <= monotonic():
                    return None, error
    except BaseException:  # Ctrl-C
        with suppress(Empty):
            outcome.get(timeout=min(seconds, GRACE_SECONDS))
        raise


@atexit.register
def _end() -> None:
    """Wait for calls that were left behind: libraries come back within a second."""
    end = monotonic() + END_SECONDS
    for thread in _left_behind:
        thread.join(max(end - monotonic(), 0))


def _give_up(path: str, seconds: float) -> Exception:
    _given_up[path] = seconds
    advice = 'set a longer time_limit (--time-limit) where the disk is slow'
    if len(_given_up) >= MAX_GIVEN_UP:
        return RuntimeError(
            f'Reading {len(_given_up)} files hangs, nothing came for {seconds:g} s: '
            f'{", ".join(map(repr, _given_up))}. Check their disk, or {advice}.')
    return TimeoutError(f'it is stuck, not just long: nothing came for {seconds:g} s; '
                        f'check the file, or {advice}')


def each_within(seconds: float, path: str, items: Iterable) -> Iterator:
    """The items, none of them None, each of which may take so long."""
    iterator = iter(items)
    while (item := within(seconds, path, next, iterator, None)) is not None:
        yield item

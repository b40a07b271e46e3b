"""Samples that could not be read: listed, counted, and a limit set to them.

Training goes on where a clip or an image cannot be read: another one replaces it.
So that this never goes unnoticed, ``unreadable_samples.txt`` in the work dir names
each once, over all workers, processes and runs in that folder. A line is what became
of it, its name and the reason, with tabs between::

    skipped   data/hmdb51/videos/wave/a.avi   the file is empty
    blank     data/hmdb51/videos/wave/b.avi   it is stuck, not just long: ...
    cut off   data/hmdb51/videos/wave/c.avi   the file says 4.00 s, of which ...
    replaced  data/mars/bbox_train/0001/0001C1T0001F003.jpg   it does not decode
"""
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

from mmengine.dist import all_gather_object, get_world_size, is_main_process
from mmengine.hooks import Hook

from cosam_mm.datasets.fingerprint import inner_datasets
from cosam_mm.datasets.unreadable_samples import (
    CUT,
    REPLACED,
    SKIPPED,
    UnreadableSample,
    notes_of,
)
from cosam_mm.registry import HOOKS
from cosam_mm.utils.config import hook_option
from cosam_mm.utils.io import read_text
from cosam_mm.utils.messages import name_some

__all__ = ['FILE_NAME', 'UnreadableSamplesHook', 'as_line', 'listed_samples']

FILE_NAME = 'unreadable_samples.txt'
_OLD_FILE_NAME = 'bad_samples.txt'  # of version 0.1
# In a data set of a few samples, any share would be too small for one bad file.
_ALWAYS_ALLOWED = 3
_MAX_NAMED = 3
_MAX_REASONS = 5
_WORDS = dict(samples='could not be read', cut='are shorter than their file says')
_ESCAPES = (('\\', '\\\\'), ('\t', '\\t'), ('\n', '\\n'), ('\r', '\\r'))


def as_line(note: UnreadableSample) -> str:
    """A line of ``unreadable_samples.txt``, without its end."""
    fields = []
    for field in note:
        for sign, escaped in _ESCAPES:
            field = field.replace(sign, escaped)
        # Names of files may hold bytes that are no UTF-8.
        fields.append(field.encode('utf-8', 'backslashreplace').decode())
    return '\t'.join(fields)


def listed_samples(work_dir: Any) -> list[str]:
    """Lines of ``unreadable_samples.txt`` in a work dir, after those of version 0.1."""
    paths = (Path(work_dir, name) for name in (_OLD_FILE_NAME, FILE_NAME))
    return [line for path in paths if path.exists() for line in
            read_text(path, errors='replace').split('\n')[:-1]]


def _key(line: str) -> tuple[str, ...]:
    return tuple(line.split('\t')[:2])


def _name(sample: Any) -> Optional[str]:
    metainfo = getattr(sample, 'metainfo', None) or {}
    return metainfo.get('sample_id', metainfo.get('tracklet_id'))


def _total(runner, mode: str) -> int:
    """How many samples there are; one that is repeated counts once."""
    dataset = getattr(runner, f'{mode}_dataloader').dataset
    parts = sum(len(part) for part, _ in inner_datasets(dataset))
    return min(parts or len(dataset), len(dataset))


class _Phase:
    """What was met in training, validation or test since the process began."""

    def __init__(self) -> None:
        self.samples: dict[str, str] = {}  # that could not be read: name -> reason
        self.frames: dict[str, str] = {}  # that another one replaced
        self.cut: dict[str, str] = {}  # that are shorter than their file says
        self.num_cut_logged = 0
        self.num_replaced = 0  # how often another sample replaced one
        self.num_doubled = 0  # how often it was in the batch already
        self._waiting: list[UnreadableSample] = []
        self._counts = [0, 0]  # the two, of this process since the last exchange

    def look_at(self, data_batch: Any) -> None:
        """Take note of a batch of this process."""
        samples = isinstance(data_batch, Mapping) and data_batch.get('data_samples')
        if not isinstance(samples, (list, tuple)):
            return
        names = [_name(sample) for sample in samples]
        for sample, name in zip(samples, names):
            notes = notes_of(sample)
            self._waiting += notes
            if any(note.outcome == SKIPPED for note in notes):
                self._counts[0] += 1
                self._counts[1] += name is not None and names.count(name) > 1

    def gather(self) -> list[UnreadableSample]:
        """Exchange the notes with all processes; return those that were not known."""
        own, self._waiting = (self._waiting, self._counts), []
        self._counts, new = [0, 0], []
        for notes, (num_replaced, num_doubled) in all_gather_object(own):
            self.num_replaced += num_replaced
            self.num_doubled += num_doubled
            for note in notes:
                known = {REPLACED: self.frames, CUT: self.cut}.get(
                    note.outcome, self.samples)
                if note.name not in known:
                    known[note.name] = note.reason
                    new.append(note)
        return new


@HOOKS.register_module()
class UnreadableSamplesHook(Hook):
    """Lists samples that could not be read, and stops where there are too many.

    A run stops when more than ``max_share`` of the different samples of a data set
    cannot be read, and more than three: training at once, validation and test once
    their metrics are there. Videos that are shorter than their file says count in
    validation and test, whose metrics they change; in training the log says how many
    there are. Frames of a tracklet that another frame stands in for are listed, but do
    not count; nor does what an earlier run has listed, which may have been repaired.

    The sample that replaces another is chosen at random and may be in the batch
    already. The log says after each epoch how often that was.

    Args:
        max_share: Of a data set's samples, 0 to 1.
        interval: Iterations of a training after which several processes tell each other
            what they met. One process knows at once.

    Raises:
        ValueError: An argument is not as described.
    """

    # When there are too many, checkpoints and metrics of this step are there.
    priority = 'LOWEST'

    def __init__(self, max_share: float = 0.05, interval: int = 50) -> None:
        if not isinstance(max_share, (int, float)) or not 0 <= max_share <= 1:
            raise ValueError(f'max_share must lie in [0, 1], got {max_share!r}.')
        if not isinstance(interval, int) or interval < 1:
            raise ValueError('interval must be a whole number of at least 1, got '
                             f'{interval!r}.')
        self.max_share = max_share
        self.interval = interval
        self._phases = {mode: _Phase() for mode in ('train', 'val', 'test')}
        self._listed: Optional[set[tuple[str, ...]]] = None
        self._num_logged = 0  # of the replaced ones of the training

    def _after_iter(self, runner, batch_idx: int, data_batch: Any = None,
                    outputs: Any = None, mode: str = 'train') -> None:
        self._phases[mode].look_at(data_batch)
        if mode == 'train' and (get_world_size() == 1 or self.every_n_train_iters(
                runner, self.interval)):
            self._update(runner, mode)

    def _after_epoch(self, runner, mode: str = 'train') -> None:
        self._update(runner, mode)
        phase = self._phases[mode]
        if len(phase.cut) > phase.num_cut_logged:
            phase.num_cut_logged = len(phase.cut)
            runner.logger.warning(f'{self._describe(runner, mode, "cut")}: see '
                                  f'{FILE_NAME}.')
        phase = self._phases['train']
        if mode == 'train' and phase.num_replaced > self._num_logged:
            self._num_logged = phase.num_replaced
            runner.logger.warning(
                f'{self._describe(runner, "train", "samples")}. Others replaced them '
                f'{phase.num_replaced} time(s), {phase.num_doubled} of them in a '
                f'batch that they were in already: see {FILE_NAME}.')

    def after_train(self, runner) -> None:
        """List what iterations without epochs have left."""
        self._update(runner, 'train')

    def _update(self, runner, mode: str) -> None:
        """List what is new; raise a RuntimeError if there are too many."""
        phase = self._phases[mode]
        new = phase.gather()
        if new and is_main_process():
            self._write(runner, new)
        allowed = max(self.max_share * _total(runner, mode), _ALWAYS_ALLOWED)
        spoilt = {**({} if mode == 'train' else phase.cut), **phase.samples}
        if len(spoilt) > allowed and new:
            raise RuntimeError(self._too_many(runner, mode, spoilt))

    def _write(self, runner, new: list[UnreadableSample]) -> None:
        path = Path(runner.work_dir) / FILE_NAME
        try:
            if self._listed is None:
                self._listed = set(map(_key, listed_samples(runner.work_dir)))
            lines = {_key(as_line(note)): as_line(note) for note in new}
            lines = [line for key, line in lines.items() if key not in self._listed]
            with open(path, 'a', encoding='utf-8') as file:
                file.write(''.join(f'{line}\n' for line in lines))
            self._listed.update(map(_key, lines))
        except (OSError, ValueError) as error:  # the log has them, too
            runner.logger.warning(f'{path} could not be written: {error}.')

    def _describe(self, runner, mode: str, *kinds: str) -> str:
        counts, total = [], _total(runner, mode)
        for kind in kinds or _WORDS:
            if num := len(getattr(self._phases[mode], kind)):
                counts.append(f'{num:,} of {total:,} samples ({mode}, '
                              f'{num / max(total, 1):.1%}) {_WORDS[kind]}')
        return ', '.join(counts)

    def _too_many(self, runner, mode: str, spoilt: dict[str, str]) -> str:
        reasons = Counter(spoilt.values()).most_common(_MAX_REASONS)
        summary = '; '.join(f'{count} x {reason}' for reason, count in reasons)
        return (
            f'{self._describe(runner, mode)} so far, more than max_share='
            f'{self.max_share:g} allows: {summary}. {Path(runner.work_dir, FILE_NAME)} '
            f'lists {name_some(map(repr, spoilt), _MAX_NAMED)}. Repair them, '
            'take them out of the list, or allow more: --cfg-options '
            f'{hook_option(runner.cfg, self, "max_share")}=0.5.')

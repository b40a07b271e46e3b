"""Samples that could not be read: listed, counted, and a limit set to them.

Training goes on where a clip or an image cannot be read: another one replaces it.
So that this never goes unnoticed, ``bad_samples.txt`` in the work dir names each
once, over all workers, processes and runs in that folder. A line is what became of it,
its name and the reason, with tabs between::

    skipped   data/hmdb51/videos/wave/a.avi   the file is empty
    blank     data/hmdb51/videos/wave/b.avi   reading it did not come back within 60 s
    replaced  data/mars/bbox_train/0001/0001C1T0001F003.jpg   it does not decode
"""
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

from mmengine.dist import all_gather_object, get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from cosam_mm.datasets.unreadable_samples import REPLACED, SKIPPED, BadSample, notes_of
from cosam_mm.utils.config import hook_option

__all__ = ['FILE_NAME', 'UnreadableSamplesHook', 'as_line', 'read_bad_samples']

FILE_NAME = 'bad_samples.txt'
# In a data set of a few samples, any share would be too small for one bad file.
_ALWAYS_ALLOWED = 3
_MAX_NAMED = 3
_MAX_REASONS = 5
_ESCAPES = (('\\', '\\\\'), ('\t', '\\t'), ('\n', '\\n'), ('\r', '\\r'))
_NAMES = ('sample_id', 'tracklet_id')


def as_line(bad: BadSample) -> str:
    """A line of ``bad_samples.txt``, without its end."""
    fields = []
    for field in bad:
        for sign, escaped in _ESCAPES:
            field = field.replace(sign, escaped)
        # Names of files may hold bytes that are no UTF-8.
        fields.append(field.encode('utf-8', 'backslashreplace').decode())
    return '\t'.join(fields)


def read_bad_samples(work_dir: Any) -> list[str]:
    """Lines of ``bad_samples.txt`` in a work dir; none where there is no such file."""
    path = Path(work_dir) / FILE_NAME
    if not path.exists():
        return []
    return path.read_text(encoding='utf-8', errors='replace').split('\n')[:-1]


def _key(line: str) -> tuple[str, ...]:
    return tuple(line.split('\t')[:2])


def _samples(data_batch: Any) -> Sequence:
    samples = data_batch.get('data_samples') if isinstance(data_batch, Mapping) else ()
    return samples if isinstance(samples, (list, tuple)) else ()


def _name(sample: Any) -> Optional[str]:
    metainfo = getattr(sample, 'metainfo', None) or {}
    return next((metainfo[key] for key in _NAMES if key in metainfo), None)


class _Phase:
    """What was met in training, validation or test since the process began.

    Attributes:
        bad: Different samples that could not be read.
        frames: Different frames that another one stands in for.
        num_stand_ins: How often a sample stood in for a bad one.
        num_doubled: How often it then stood twice in a batch.
    """

    def __init__(self) -> None:
        self.bad: dict[str, str] = {}  # name -> reason
        self.frames: set[str] = set()
        self.num_stand_ins = 0
        self.num_doubled = 0
        self._waiting: list[BadSample] = []
        self._counts = [0, 0]

    def look_at(self, data_batch: Any) -> None:
        """Take note of a batch of this process."""
        samples = _samples(data_batch)
        names = Counter(map(_name, samples))
        for sample in samples:
            notes = notes_of(sample)
            self._waiting += notes
            if any(note.outcome == SKIPPED for note in notes):
                self._counts[0] += 1
                self._counts[1] += _name(sample) is not None and (
                    names[_name(sample)] > 1)

    def gather(self) -> list[BadSample]:
        """Exchange the notes with all processes; those that were not known."""
        own, self._waiting = (self._waiting, self._counts), []
        self._counts, new = [0, 0], []
        for notes, (num_stand_ins, num_doubled) in all_gather_object(own):
            self.num_stand_ins += num_stand_ins
            self.num_doubled += num_doubled
            for note in notes:
                known = self.frames if note.outcome == REPLACED else self.bad
                if note.name in known:
                    continue
                new.append(note)
                if note.outcome == REPLACED:
                    self.frames.add(note.name)
                else:
                    self.bad[note.name] = note.reason
        return new


@HOOKS.register_module()
class UnreadableSamplesHook(Hook):
    """Lists samples that could not be read, and stops where there are too many.

    A run stops when more than ``max_share`` of the different samples of a data set
    cannot be read, and more than three: training at once, validation and test once
    their metrics are there. Frames of a tracklet that another frame stands in for are
    listed, but do not count. What an earlier run has listed does not count either: the
    files may have been repaired.

    A sample that stands in for a bad one is chosen at random and may be in the batch
    already. The log says after each epoch how often that was.

    Args:
        max_share: Of a data set's samples, 0 to 1.
        interval: Iterations of a training after which several processes tell each other
            what they met. One process knows at once.

    Raises:
        ValueError: An argument is not as described.
    """

    # When too many are bad, checkpoints and metrics of this step are there.
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
        self._said = {mode: 0 for mode in self._phases}

    def after_train_iter(self, runner, batch_idx: int, data_batch: Any = None,
                         outputs: Optional[dict] = None) -> None:
        """Look at the batch."""
        self._phases['train'].look_at(data_batch)
        if get_world_size() == 1 or self.every_n_train_iters(runner, self.interval):
            self._settle(runner, 'train')

    def after_val_iter(self, runner, batch_idx: int, data_batch: Any = None,
                       outputs: Optional[Sequence] = None) -> None:
        """Look at the batch."""
        self._phases['val'].look_at(data_batch)

    def after_test_iter(self, runner, batch_idx: int, data_batch: Any = None,
                        outputs: Optional[Sequence] = None) -> None:
        """Look at the batch."""
        self._phases['test'].look_at(data_batch)

    def after_train_epoch(self, runner) -> None:
        """Settle the accounts of the epoch."""
        self._settle(runner, 'train')
        phase = self._phases['train']
        if phase.num_stand_ins > self._said['train']:
            self._said['train'] = phase.num_stand_ins
            runner.logger.warning(
                f'{self._describe(runner, "train")}. Others replaced them '
                f'{phase.num_stand_ins} time(s), {phase.num_doubled} of them in a '
                f'batch that they were in already: see {FILE_NAME}.')

    def after_val_epoch(self, runner, metrics: Optional[dict] = None) -> None:
        """Settle the accounts of the validation."""
        self._settle(runner, 'val')

    def after_test_epoch(self, runner, metrics: Optional[dict] = None) -> None:
        """Settle the accounts of the test."""
        self._settle(runner, 'test')

    def after_train(self, runner) -> None:
        """Settle what iterations without epochs have left."""
        self._settle(runner, 'train')

    def _settle(self, runner, mode: str) -> None:
        """List what is new; raise a RuntimeError if there are too many."""
        phase = self._phases[mode]
        new = phase.gather()
        if new and is_main_process():
            self._write(runner, new)
        total = self._total(runner, mode)
        if len(phase.bad) > max(self.max_share * total, _ALWAYS_ALLOWED) and new:
            raise RuntimeError(self._too_many(runner, mode))

    def _write(self, runner, new: list[BadSample]) -> None:
        path = Path(runner.work_dir) / FILE_NAME
        try:
            if self._listed is None:
                self._listed = set(map(_key, read_bad_samples(runner.work_dir)))
            lines = {_key(as_line(note)): as_line(note) for note in new}
            lines = [line for key, line in lines.items() if key not in self._listed]
            with open(path, 'a', encoding='utf-8') as file:
                file.write(''.join(f'{line}\n' for line in lines))
            self._listed.update(map(_key, lines))
        except OSError as error:  # the log has them, too
            runner.logger.warning(f'{path} could not be written: {error}.')

    @staticmethod
    def _total(runner, mode: str) -> int:
        return len(getattr(runner, f'{mode}_dataloader').dataset)

    def _describe(self, runner, mode: str) -> str:
        num, total = len(self._phases[mode].bad), self._total(runner, mode)
        return (f'{num:,} of {total:,} samples ({mode}, {num / max(total, 1):.1%}) '
                'could not be read')

    def _too_many(self, runner, mode: str) -> str:
        phase = self._phases[mode]
        reasons = Counter(phase.bad.values()).most_common(_MAX_REASONS)
        summary = '; '.join(f'{count} x {reason}' for reason, count in reasons)
        return (
            f'{self._describe(runner, mode)} so far, more than max_share='
            f'{self.max_share:g} allows: {summary}. The first are '
            f'{", ".join(map(repr, list(phase.bad)[:_MAX_NAMED]))}; all are listed in '
            f'{Path(runner.work_dir) / FILE_NAME}. Repair them, take them out of the '
            'list, or allow more: --cfg-options '
            f'{hook_option(runner.cfg, self, "max_share")}=0.5.')

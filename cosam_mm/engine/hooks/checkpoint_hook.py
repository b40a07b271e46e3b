"""Checkpoints that survive whatever stops a training.

mmengine's hook deletes the oldest checkpoint before it writes the new one, and writes
that in place: a training that is killed in between loses both. It resumes from whatever
``last_checkpoint`` names, without the rest of an interrupted validation, without
gradients that were not applied, and without the schedule's memory of validations.
"""
import contextlib
import logging
import os
import signal
from collections import deque
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Optional

import torch
from mmengine.dist import (
    broadcast_object_list,
    get_rank,
    get_world_size,
    is_main_process,
)
from mmengine.fileio import LocalBackend
from mmengine.hooks import CheckpointHook
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, Runner

from cosam_mm.engine.runner.distributed import bare_model
from cosam_mm.engine.runner.stop_signals import (
    StopSignals,
    TrainingStopped,
    shield_workers,
)
from cosam_mm.engine.runner.work_dir_lock import lock_work_dir, unlock_work_dir
from cosam_mm.registry import HOOKS
from cosam_mm.utils.checkpoint_integrity import drop_from_list
from cosam_mm.utils.io import remove_partial_files, write_text, writing
from cosam_mm.utils.worker_batches import make_batches_sendable

from .checkpoint_files import (
    AWAITS_VALIDATION,
    BUFFERS,
    GRADIENTS,
    OUTDATED,
    WITHIN_EPOCH,
    DelayedRemovalBackend,
    describe_other_schedule,
    differing_buffers,
    disarm,
    find_newest,
    folder_of,
    pending_gradients,
    read_with_checks,
    take_gradients,
)
from .seeded_sampling_hook import SeededSamplingHook

__all__ = ['SafeCheckpointHook']


class _NotWrittenError(Exception):
    """A checkpoint could not be written, and what was there is still there."""


class _SafelySaving:
    """A runner whose checkpoints are written by the hook."""

    def __init__(self, runner, write) -> None:
        self.runner = runner
        self.save_checkpoint = partial(write, runner)

    def __getattr__(self, name: str):
        return getattr(self.runner, name)


def _validation_is_due(runner) -> bool:
    """Whether the loop would validate where it stands."""
    loop = runner.train_loop
    if runner.val_loop is None:
        return False
    loop._decide_current_val_interval()
    done, last = ((loop.epoch, loop.max_epochs) if _counts_epochs(runner)
                  else (loop.iter, loop.max_iters))
    return done >= loop.val_begin and (done % loop.val_interval == 0 or done == last)


def _is_true(record: logging.LogRecord) -> bool:
    """Of mmengine's lines while gradients are on their way: none of them is lost."""
    return 'gradient of some iterations is lost' not in record.getMessage()


def _counts_epochs(runner) -> bool:
    return isinstance(runner.train_loop, EpochBasedTrainLoop)


@HOOKS.register_module()
class SafeCheckpointHook(CheckpointHook):
    """mmengine's checkpoint hook, made fault tolerant.

    Names, intervals, ``max_keep_ckpts``, ``save_best`` and ``last_checkpoint`` are
    those of mmengine's hook. In addition:

    - A checkpoint is written to another name, flushed to the disk, and renamed; only
      then the older one that it replaces is removed.
    - Resuming without a named checkpoint takes the newest one that is whole, with a
      warning for each that is not.
    - A checkpoint is written before its validation and again after it. A training
      that was stopped in between validates first when it is resumed.
    - The gradients of each process that wait for more batches are kept, and so are its
      buffers where they differ.
    - A checkpoint that cannot be written is a warning: the training goes on, and the
      older ones stay. It is an error if the last one of the training cannot.
    - One process at a time trains in a work dir; a second one is refused.
    - After SIGTERM or Ctrl-C the training stops, with a checkpoint, when the iteration
      that is under way has ended: exit status 143 or 130.

    With :class:`SeededSamplingHook` a resumed training ends with the weights of one
    that was never stopped. Checkpoints of DeepSpeed, which are folders, and those in
    remote storage are written as mmengine writes them.

    Args:
        start_from: Weights to begin with where there is nothing to resume.
        kwargs: Of ``CheckpointHook``.
    """

    def __init__(self, *args, start_from: Optional[str] = None, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.start_from = start_from
        self._stop: Optional[StopSignals] = None
        self._resumed_from: Optional[str] = None
        self._gradients: dict[str, torch.Tensor] = {}  # to be restored
        self._buffers: dict[str, torch.Tensor] = {}
        self._additions: dict[str, Any] = {}  # to what is being written
        self._awaits_validation = False
        self._saved_iter: Optional[int] = None  # where the last checkpoint stands
        self._problem: Optional[str] = None  # of the last checkpoint

    # -- resuming ------------------------------------------------------------

    def before_run(self, runner) -> None:
        """Choose the checkpoint to go on from.

        Refuse a work dir in which another process trains.
        """
        # A test does not build the loop; it may look at what is being trained.
        if is_main_process() and isinstance(runner._train_loop, BaseLoop):
            lock_work_dir(runner.work_dir)
        for loop in (runner._train_loop, runner._val_loop, runner._test_loop):
            if isinstance(loop, BaseLoop):
                make_batches_sendable(loop.dataloader)
        read_with_checks(runner)
        if isinstance(runner, Runner) and runner._resume and runner._load_from is None:
            self._choose_newest(runner)

    def _choose_newest(self, runner) -> None:
        folder = folder_of(self, runner)
        newest = [find_newest(folder, runner.work_dir) if is_main_process() else None]
        broadcast_object_list(newest)
        path, problems = newest[0]
        for problem in problems:
            runner.logger.warning(f'{problem}.')
        level = logging.WARNING if problems else logging.INFO
        if path is None:
            runner._resume = False
            runner._load_from = self.start_from
            runner.logger.log(
                level, 'There is no checkpoint to resume: the training starts anew.')
        else:
            runner._load_from = path
            runner.logger.log(level, f'The training goes on from {path}.')

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Take from a checkpoint what mmengine would leave in it."""
        disarm(runner, checkpoint)
        gradients = take_gradients(checkpoint)
        buffers = checkpoint.pop(BUFFERS, None) or []
        if runner._resume:
            if problem := describe_other_schedule(runner, checkpoint):
                runner.logger.warning(problem)
            self._gradients = gradients
            if gradients:
                runner.logger.addFilter(_is_true)
            if len(buffers) == get_world_size():
                self._buffers = buffers[get_rank()]
            self._resumed_from = str(runner._load_from)
            self._awaits_validation = (checkpoint.get('meta') or {}).get(
                AWAITS_VALIDATION, False)

    def after_run(self, runner) -> None:
        """Leave the work dir to others."""
        unlock_work_dir(runner.work_dir)

    def before_train(self, runner) -> None:
        """Put everything where the checkpoint left it; catch up on its validation."""
        super().before_train(runner)
        if isinstance(self.file_backend, LocalBackend) and is_main_process():
            self._tidy(runner)
        self.file_backend = DelayedRemovalBackend(self.file_backend)
        self._stop = StopSignals(lambda name: runner.logger.warning(
            f'{name}: the training stops after this iteration.'))
        self._stop.install()
        for loop in (runner.train_loop, runner.val_loop):
            if loop is not None:
                shield_workers(loop.dataloader)
        if self._resumed_from is not None:
            self._go_on(runner)

    def _tidy(self, runner) -> None:
        """Remove what a process left that was killed while it wrote or removed."""
        with contextlib.suppress(OSError):  # a folder that cannot be written to
            for name in remove_partial_files(self.out_dir):
                runner.logger.info(f'{name} was not finished and is removed.')
            if self._resumed_from is None or not os.path.samefile(
                    os.path.dirname(os.path.abspath(self._resumed_from)), self.out_dir):
                return
            for name in runner.message_hub.runtime_info.get(OUTDATED) or []:
                Path(self.out_dir, name).unlink(missing_ok=True)

    def _go_on(self, runner) -> None:
        runner.logger.removeFilter(_is_true)
        if self._gradients:
            for name, parameter in bare_model(runner.model).named_parameters():
                if name in self._gradients:
                    parameter.grad = self._gradients[name].to(parameter)
            self._gradients = {}
            runner.logger.info("The gradients since the optimiser's last step are "
                               'restored.')
        for name, buffer in bare_model(runner.model).named_buffers():
            if name in self._buffers:
                buffer.copy_(self._buffers[name])
        self._buffers = {}
        self._saved_iter = runner.iter
        self.last_ckpt = self._resumed_from
        if self._awaits_validation and _validation_is_due(runner):
            runner.logger.info('The checkpoint was written before its validation, '
                               'which is done first.')
            # As they were then: RuntimeInfoHook has moved on.
            runner.message_hub.update_info('iter', runner.iter - 1)
            if _counts_epochs(runner):
                runner.message_hub.update_info('epoch', runner.epoch - 1)
            runner.val_loop.run()

    # -- writing -------------------------------------------------------------

    def _save_checkpoint(self, runner) -> None:
        self._awaits_validation = True
        super()._save_checkpoint(runner)

    def _save_checkpoint_with_step(self, runner, step: int, meta: dict) -> None:
        kept = list(getattr(self, 'keep_ckpt_ids', ()))
        dropped = []
        if self.max_keep_ckpts > 0 and step not in kept[-1:]:
            kept.append(step)
            dropped = kept[:-self.max_keep_ckpts]
            kept = kept[-self.max_keep_ckpts:]
        if self._save_as(runner, self.filename_tmpl.format(step), meta, kept,
                         [self.filename_tmpl.format(old) for old in dropped]):
            self.keep_ckpt_ids = deque(kept)

    def _save_as(self, runner, filename: str, meta: dict, kept: list[int],
                 dropped: Sequence[str] = (), within_epoch: bool = False) -> bool:
        """Write a checkpoint to resume from, then remove those that it replaces.

        ``kept`` are the numbers of those that ``max_keep_ckpts`` leaves, ``dropped``
        the names of the others. One ``within_epoch`` is replaced by the next. False if
        it cannot be written.
        """
        runner = getattr(runner, 'runner', runner)  # inside of _SafelySaving
        earlier = runner.message_hub.runtime_info.get(WITHIN_EPOCH)
        path = self.file_backend.join_path(self.out_dir, filename)
        with self._undone_if_refused(runner) as refused:
            for name in (*dropped, *({earlier} - {None, filename})):
                self.file_backend.remove(
                    self.file_backend.join_path(self.out_dir, name))
            outdated = [os.path.basename(old) for old in self.file_backend.outdated]
            runner.message_hub.update_info_dict({
                'last_ckpt': path, OUTDATED: outdated,
                WITHIN_EPOCH: filename if within_epoch else None,
                **(dict(keep_ckpt_ids=kept) if self.max_keep_ckpts > 0 else {})})
            self._write(
                runner, self.out_dir, filename, self.file_client_args,
                save_optimizer=self.save_optimizer,
                save_param_scheduler=self.save_param_scheduler,
                meta={**meta, AWAITS_VALIDATION: self._awaits_validation},
                by_epoch=self.by_epoch, backend_args=self.backend_args, **self.args)
        if refused:
            return False
        self.last_ckpt, self._saved_iter, self._problem = path, meta['iter'], None
        if is_main_process():
            self._point_to(runner, path)
            self.file_backend.remove_now()
        return True

    @contextlib.contextmanager
    def _undone_if_refused(self, runner) -> Iterator[list[str]]:
        """Restore the hook's notes, and fill the list, if a file cannot be written."""
        info, refused = runner.message_hub.runtime_info, []
        before, outdated = dict(info), list(self.file_backend.outdated)
        own = {name: getattr(self, name)
               for name in ('best_ckpt_path', 'best_ckpt_path_dict')
               if hasattr(self, name)}
        try:
            yield refused
        except _NotWrittenError as error:
            info.clear()
            info.update(before)
            self.file_backend.outdated = outdated
            vars(self).update(own)
            self._problem = str(error)
            runner.logger.warning(f'{error}. The training goes on; the newest '
                                  f'checkpoint is {self._newest}.')
            refused.append(self._problem)

    def _write(self, runner, out_dir: str, filename: str, *args, **kwargs) -> None:
        """Write a checkpoint, or raise _NotWrittenError; all processes take part."""
        is_folder = type(getattr(runner, 'strategy', None)).__name__ in (
            'DeepSpeedStrategy', 'ColossalAIStrategy')
        backend = self.file_backend._backend
        if is_folder or not isinstance(backend, LocalBackend):
            runner.save_checkpoint(out_dir, filename, *args, **kwargs)
            return
        path = os.path.join(out_dir, filename)
        if kwargs.get('save_optimizer'):
            additions = {GRADIENTS: pending_gradients(runner),
                         BUFFERS: differing_buffers(runner)}
            self._additions = {key: value for key, value in additions.items() if value}
        try:
            if is_main_process():
                drop_from_list(path)
                with writing(path) as file:
                    runner.save_checkpoint(out_dir, file.name, *args, **kwargs)
            else:  # takes part in gathering the content, and writes nothing
                runner.save_checkpoint(out_dir, filename, *args, **kwargs)
        except OSError as error:
            raise _NotWrittenError(
                f'{path} could not be written ({error.strerror or error})') from error
        finally:
            self._additions = {}

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Add the gradients that wait to be applied, and buffers that differ."""
        checkpoint.update(self._additions)

    def _point_to(self, runner, path: str) -> None:
        try:
            write_text(os.path.join(runner.work_dir, 'last_checkpoint'), path)
        except OSError as error:  # resuming does without it, too
            runner.logger.warning('last_checkpoint could not be written '
                                  f'({error.strerror or error}).')

    @property
    def _newest(self) -> str:
        return str(self.last_ckpt) if self.last_ckpt else 'none at all'

    def _save_best_checkpoint(self, runner, metrics: dict) -> None:
        with self._undone_if_refused(runner) as refused:
            super()._save_best_checkpoint(_SafelySaving(runner, self._write), metrics)
        if not refused and self.last_ckpt is None and is_main_process():
            self.file_backend.remove_now()

    def after_val_epoch(self, runner, metrics: Optional[dict] = None) -> None:
        """Save the best, and the checkpoint again with what the validation told."""
        if self._stop is None:  # a validation by itself
            return
        is_saved, self._awaits_validation = self._saved_iter == runner.iter, False
        self._saved_iter = None
        super().after_val_epoch(runner, metrics)
        number = self._stop.agreed()
        if self._saved_iter is None and (is_saved or number):
            self._save_between_steps(runner, runner.epoch)
        if number:
            self._leave(runner, number)

    def _save_between_steps(self, runner, epoch: int) -> None:
        self._save_checkpoint_with_step(
            runner, epoch if self.by_epoch else runner.iter,
            dict(epoch=epoch, iter=runner.iter))

    # -- stopping ------------------------------------------------------------

    def after_train_iter(self, runner, batch_idx: int,
                         data_batch: Optional[Sequence] = None,
                         outputs: Optional[dict] = None) -> None:
        """Save where iterations count; stop when asked to."""
        super().after_train_iter(runner, batch_idx, data_batch, outputs)
        number = self._stop.agreed()
        if not number:
            return
        if not _counts_epochs(runner):
            if self._saved_iter != runner.iter + 1:
                self._save_checkpoint(runner)
            self._leave(runner, number, runner.iter + 1)
        seeding = next((hook for hook in runner.hooks
                        if isinstance(hook, SeededSamplingHook)), None)
        done = batch_idx + 1 if seeding is None else seeding.batches_done
        if done == len(runner.train_dataloader):
            return  # after_train_epoch stops
        if seeding is not None and seeding.can_go_on_within_epoch(runner):
            self._awaits_validation = False
            self._save_as(runner, f'iter_{runner.iter + 1}.pth',
                          dict(epoch=runner.epoch, iter=runner.iter + 1),
                          list(getattr(self, 'keep_ckpt_ids', ())), within_epoch=True)
        self._leave(runner, number, runner.iter + 1)

    def after_train_epoch(self, runner) -> None:
        """Save where epochs count; stop when asked to."""
        super().after_train_epoch(runner)
        if not _counts_epochs(runner):
            return
        number = self._stop.agreed()
        if number:
            if self._saved_iter != runner.iter:
                self._awaits_validation = True
                self._save_between_steps(runner, runner.epoch + 1)
            self._leave(runner, number)

    def after_val_iter(self, runner, batch_idx: int,
                       data_batch: Optional[Sequence] = None,
                       outputs: Optional[Sequence] = None) -> None:
        """Stop at once when asked to, if the validated weights are saved."""
        # Several processes end the validation first: their numbers of batches differ.
        if (self._stop is not None and self._stop.received and get_world_size() == 1
                and self._saved_iter == runner.iter):
            self._leave(runner, self._stop.received)

    def _leave(self, runner, number: int, num_iters: Optional[int] = None) -> None:
        num_iters = runner.iter if num_iters is None else num_iters
        self._stop.leave()
        what = (f'{self._problem}; the newest checkpoint is' if self._problem else
                '--resume goes on from')
        runner.logger.warning(
            f'Stopped by {signal.Signals(number).name} after iteration {num_iters} of '
            f'{runner.max_iters}: {what} {self._newest}.')
        raise TrainingStopped(number)

    def after_train(self, runner) -> None:
        """Publish; raise a RuntimeError if the end of the training is not saved."""
        super().after_train(runner)
        self._stop.restore()
        self._stop = None
        if self._problem:
            raise RuntimeError(
                f'The training has ended, but {self._problem}. The newest checkpoint '
                f'is {self._newest}: make room and run it again with --resume.')

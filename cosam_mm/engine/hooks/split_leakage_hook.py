"""Refuse to test a checkpoint that would give a meaningless result.

mmengine loads what fits of a checkpoint and goes on with random weights for the rest,
and does not mind which data a model was trained on. HMDB51 and UCF101 come in three
splits, and most test clips of one are training clips of another.

What a checkpoint was trained on is in its ``meta['dataset_meta']``: the ``metainfo``
of the training data set, which mmengine's runner writes. The hook adds the data sets
of earlier trainings, for a model that was fine-tuned or resumed on other data.
"""
import logging
import os
import re
from collections import OrderedDict
from functools import partial
from typing import Optional

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.registry import HOOKS
from torch import Tensor

from cosam_mm.apis.model_loading import describe_misfit
from cosam_mm.engine.runner.distributed import bare_model
from cosam_mm.layers.cosam_resampling import resampled_on_load
from cosam_mm.utils.config import hook_option
from cosam_mm.utils.messages import name_some

__all__ = ['SplitLeakageHook', 'trained_on_test_clips']

# Key of a checkpoint's meta: all data sets and splits its weights have seen.
_HISTORY = 'trained_on'


def trained_on_test_clips(trained: dict, tested: dict) -> Optional[str]:
    """Say why a test would rate clips that were trained on, if it would.

    Args:
        trained: ``metainfo`` of the training data set: ``dataset`` and ``split``.
        tested: ``metainfo`` of the test data set.
    """
    name, own, other = (trained.get('dataset'), trained.get('split'),
                        tested.get('split'))
    if (name is None or name != tested.get('dataset') or None in (own, other)
            or str(own) == str(other)):
        return None
    return (f'The model was trained on split {own} of {name} and would be tested on '
            f'split {other}: the training set of split {own} holds test clips of split '
            f'{other}, so the result would mean nothing. Test on split {own} '
            f'(--split {own})')


def _first_other_class(trained: dict, tested: dict) -> Optional[str]:
    """Say where class names of the same data set part, if they do."""
    if trained.get('dataset') != tested.get('dataset'):
        return None
    pairs = zip(trained.get('classes') or (), tested.get('classes') or ())
    for label, (old, new) in enumerate(pairs):
        if old != new:
            return (f'Label {label} is {old!r} in the checkpoint and {new!r} in the '
                    'test set: scores go to other classes than were trained.')
    return None


def _tensors(state_dict) -> dict[str, Tensor]:
    """Tensors by name without a wrapper's ``module.``, with modules' ``_metadata``."""
    tensors = OrderedDict((re.sub(r'^module\.', '', name), value)
                          for name, value in state_dict.items()
                          if hasattr(value, 'shape'))
    tensors._metadata = getattr(state_dict, '_metadata', {})
    return tensors


def _refuse_to_resume(resampled: dict[str, tuple]) -> Optional[str]:
    """Say why a training cannot go on with weights of another size."""
    sizes = [f'{name} {old}, {new}' for name, (old, new) in resampled.items()]
    return None if not sizes else (
        'The checkpoint was trained for another length or size of clips. COSAM would '
        'be resampled (slots, height, width of checkpoint, model): '
        f"{name_some(sizes, separator='; ')}; but the optimiser's state would not.")


def _disarm_resume(checkpoint: dict, work_dir: str) -> None:
    """Take out of a checkpoint what harms when mmengine resumes from it.

    ``meta['config']``, which only files of old packages hold, would be run as
    Python. ``best_ckpt`` is a file that mmengine deletes once the run has a better
    one: in the folder of another run it is not this run's to delete.
    """
    (checkpoint.get('meta') or {}).pop('config', None)
    info = (checkpoint.get('message_hub') or {}).get('runtime_info') or {}
    folder = os.path.abspath(work_dir)
    for key in [key for key in info if key.startswith('best_ckpt')]:
        if os.path.dirname(os.path.abspath(str(info[key]))) != folder:
            del info[key]


_warn = partial(print_log, logger='current', level=logging.WARNING)


@HOOKS.register_module()
class SplitLeakageHook(Hook):
    """Stop a test, or the resuming of a training, with a checkpoint unfit for it.

    - Test: a RuntimeError when a parameter of the model is missing from the
      checkpoint or has another shape there (but for a COSAM's, which are resampled
      for clips of another length or size); and, unless ``force``, when checkpoint
      or training belong to another split of the same data set.
    - Resume: a RuntimeError when the checkpoint does not fit the model, or does so
      only when resampled.
    - Training from ``load_from`` (fine-tuning) and validation: nothing.

    A checkpoint that does not say what it was trained on, such as a converted one,
    passes with a line in the log.

    Args:
        force: Test on another split all the same, with a warning.
    """

    # Before hooks that keep copies of the checkpoint's parameters.
    priority = 'VERY_HIGH'

    def __init__(self, force: bool = False) -> None:
        self.force = force
        self._misfit: Optional[str] = None
        self._trained_on: list[dict] = []

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Note what the checkpoint holds; stop if it is to be resumed and unfit."""
        model = bare_model(runner.model)
        found = _tensors(checkpoint.get('state_dict', checkpoint))
        resampled = resampled_on_load(model, found)
        shapes = [{name: tuple(value.shape) for name, value in tensors.items()}
                  for tensors in (found, _tensors(model.state_dict()))]
        self._misfit = describe_misfit(*shapes, resampled)
        problem = self._misfit or _refuse_to_resume(resampled)
        if problem and runner._resume:
            raise RuntimeError(
                f'{problem} Resume with the config of that training, or start '
                'a new one from these weights: load_from without resume.')
        if runner._resume:
            _disarm_resume(checkpoint, runner.work_dir)
        meta = checkpoint.get('meta') or {}
        self._trained_on = [
            dict(entry) for entry in
            (meta.get('dataset_meta') or {}, *meta.get(_HISTORY, ()))]
        if self._trained_on[0].get('dataset') is None:
            print_log(
                'The checkpoint does not say which data it was trained on: whether '
                'it has seen test clips is not checked.', logger='current')

    def before_train(self, runner) -> None:
        """Note what is trained on; parameters that did not fit are trained now."""
        self._misfit = None
        metainfo = getattr(runner.train_dataloader.dataset, 'metainfo', None) or {}
        self._trained_on.append(dict(metainfo))

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Hand down what was trained on before, which mmengine forgets."""
        seen = {(entry.get('dataset'), entry.get('split'))
                for entry in self._trained_on if entry.get('dataset') is not None}
        checkpoint['meta'][_HISTORY] = [
            dict(dataset=name, split=split) for name, split in sorted(seen, key=str)]

    def before_test(self, runner) -> None:
        """Stop the test of an unfit checkpoint."""
        if self._misfit:
            raise RuntimeError(self._misfit)
        tested = getattr(runner.test_dataloader.dataset, 'metainfo', None) or {}

        def distinct(check):
            reasons = (check(trained, tested) for trained in self._trained_on)
            return dict.fromkeys(reason for reason in reasons if reason)

        for reason in distinct(trained_on_test_clips):
            if not self.force:
                raise RuntimeError(
                    f'{reason}, or insist with --force (--cfg-options '
                    f'{hook_option(runner.cfg, self, "force")}=True).')
            _warn(f'{reason}. Going on, as forced.')
        for reason in distinct(_first_other_class):
            _warn(reason)

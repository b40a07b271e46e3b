"""Refuse to test a checkpoint that would give a meaningless result.

mmengine loads what fits of a checkpoint and goes on with random weights for the rest,
and does not mind which data a model was trained on. HMDB51 and UCF101 come in three
splits, and most test clips of one are training clips of another.

What a checkpoint was trained on is in its ``meta['trained_on']``, with hashes of all
clips or persons (see ``datasets/fingerprint.py``), those of earlier trainings of a
model that was fine-tuned or resumed on other data among them. Where there are none, as
in files of version 0.1, the names of data set and split are compared.
"""
import logging
import re
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Optional

from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.registry import DATASETS
from torch import Tensor

from cosam_mm.apis.model_loading import (
    describe_misfit,
    list_misfits,
    unused_parameters,
    weights_sha256,
    without,
)
from cosam_mm.datasets.fingerprint import (
    compare,
    fingerprints,
    former_split,
    inner_datasets,
    merge_entries,
    trained_entries,
    trained_on_test_clips,
)
from cosam_mm.engine.runner.distributed import bare_model
from cosam_mm.evaluation.provenance import describe_other_classes
from cosam_mm.layers.cosam_resampling import resampled_on_load
from cosam_mm.models.converters import recognise
from cosam_mm.registry import HOOKS
from cosam_mm.utils.config import hook_option
from cosam_mm.utils.messages import name_some

from .checkpoint_files import disarm, read_with_checks

__all__ = ['SplitLeakageHook', 'trained_on_test_clips']

# Key of a checkpoint's meta: all that its weights have seen.
_HISTORY = 'trained_on'


def _first_other_class(trained: dict, tested: dict) -> Optional[str]:
    """Say where class names of the same data set part, if they do."""
    # Of a JoinedDataset, several are named.
    if str(tested.get('dataset')) not in str(trained.get('dataset')).split(' + '):
        return None
    reason = describe_other_classes(
        trained.get('classes') or (), tested.get('classes') or (),
        ('the checkpoint', 'the test set'))
    return reason and f'{reason}: scores go to other classes than were trained.'


def _tensors(state_dict) -> dict[str, Tensor]:
    """Tensors by name without a wrapper's ``module.``, with modules' ``_metadata``."""
    tensors = OrderedDict((re.sub(r'^module\.', '', name), value)
                          for name, value in state_dict.items()
                          if hasattr(value, 'shape'))
    tensors._metadata = getattr(state_dict, '_metadata', {})
    return tensors


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple]:
    return {name: tuple(value.shape) for name, value in tensors.items()}


def _describe_start(given: dict, wanted: dict, resampled: dict) -> str:
    """Say what a training takes from a checkpoint, and what it does not."""
    taken = [name for name, shape in wanted.items()
             if name in resampled or given.get(name) == shape]
    parts = [f'training begins with {len(taken)} of the {len(wanted)} parameters of '
             'the model from the checkpoint', *list_misfits(given, wanted, resampled)]
    return '. '.join(parts) + '.'


def _refuse_start(found: Mapping[str, Tensor], wanted: dict) -> Optional[str]:
    """Say so if nothing of a checkpoint fits, and what it may be."""
    if any(_shapes(found).get(name) == shape for name, shape in wanted.items()):
        return None
    try:
        advice = (f'It is of {recognise(found).source.repository}: convert it with '
                  'tools/model_converters/convert_reference.py.')
    except ValueError as error:
        advice = str(error)
    return ('Nothing in the checkpoint fits the model, and the training would begin '
            f'with random weights. {advice}')


def _refuse_to_resume(resampled: dict[str, tuple]) -> Optional[str]:
    """Say why a training cannot go on with weights of another size."""
    sizes = [f'{name} {old}, {new}' for name, (old, new) in resampled.items()]
    return None if not sizes else (
        'The checkpoint was trained for another length or size of clips. COSAM would '
        'be resampled (slots, height, width of checkpoint, model): '
        f"{name_some(sizes, separator='; ')}; but the optimiser's state would not.")


def _check_persons(dataset, head: object) -> None:
    """Stop if a label stands for two persons, or a head has too few of them."""
    persons: dict[int, tuple] = {}
    for part, items in inner_datasets(dataset):
        for item in items:
            label = item.get('label', -1) if 'pid' in item else -1
            own = getattr(part, 'data_root', ''), item.get('pid')
            if label >= 0 and persons.setdefault(label, own) != own:
                both = [f'{pid} of {root}' for root, pid in (persons[label], own)]
                raise RuntimeError(
                    f'Label {label} stands for two persons, {" and ".join(both)}: each '
                    'data set counts its persons from 0. Train on one folder with the '
                    'persons of both (TrackletFolder).')
    known, found = getattr(head, 'num_pids', None), max(persons, default=-1) + 1
    if isinstance(known, int) and found > known:
        raise RuntimeError(
            f'The model tells {known} persons apart, and {found} are trained on: '
            f'--cfg-options model.head.num_pids={found}.')


def _listed_for_training(cfg: Mapping) -> list[dict]:
    """What the training set of a config consists of; nothing where it is not there."""
    settings = (cfg.get('train_dataloader') or {}).get('dataset')
    with suppress(Exception):  # anyone's data set may fail in any way of its own
        return [dict(content=mark.content.unique(), **mark.about)
                for mark in fingerprints(DATASETS.build(settings))]
    return []


_warn = partial(print_log, logger='current', level=logging.WARNING)


@HOOKS.register_module()
class SplitLeakageHook(Hook):
    """Stop a test, or the resuming of a training, with a checkpoint unfit for it.

    - Test: a RuntimeError when checkpoint and model do not have the same parameters in
      the same shapes (but for a COSAM's, which are resampled for clips of another
      length or size, and for a re-ID model's classifier); and, unless ``force``, when
      clips or persons of the test were trained on.
      So does a test list that shares some with the training list of the config, where
      the checkpoint does not say what it was trained on.
    - Resume: a RuntimeError when the checkpoint does not fit the model, or does so
      only when resampled.
    - Training: a warning when clips or persons of the validation are trained on, or
      were before.

    A checkpoint that does not say what it was trained on, such as a converted one,
    passes with a line in the log. The metrics of a test are told whose weights they
    rate, see ``evaluation/provenance.py``.

    Args:
        force: Test what was trained on all the same, with a warning.
    """

    # Before hooks that keep copies of the checkpoint's parameters.
    priority = 'VERY_HIGH'

    def __init__(self, force: bool = False) -> None:
        self.force = force
        self._misfit: Optional[str] = None
        self._loaded: Optional[str] = None  # what a training begins with
        self._unfit: Optional[str] = None  # why it must not begin with that
        self._weights: dict[str, Tensor] = {}  # of the checkpoint of a test
        self._trained_on: list[dict] = []
        self._classes: list[Mapping] = []  # metainfo of the training sets

    def before_run(self, runner) -> None:
        """Let mmengine read its own checkpoints, which torch's defaults refuse."""
        read_with_checks(runner)

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Note what the checkpoint holds; stop if it is to be resumed and unfit."""
        disarm(runner, checkpoint)
        model = bare_model(runner.model)
        unused = () if runner._resume else unused_parameters(model)
        found, own = (_tensors(each) for each in (
            checkpoint.get('state_dict', checkpoint), model.state_dict()))
        resampled = resampled_on_load(model, found)
        self._weights = found
        self._misfit = describe_misfit(*(_shapes(without(tensors, unused))
                                         for tensors in (found, own)), resampled)
        self._loaded = _describe_start(_shapes(found), _shapes(own), resampled)
        self._unfit = _refuse_start(found, _shapes(own))
        problem = self._misfit or _refuse_to_resume(resampled)
        if problem and runner._resume:
            raise RuntimeError(
                f'{problem} Resume with the config of that training, or start '
                'a new one from these weights: load_from without resume.')
        meta = checkpoint.get('meta') or {}
        self._trained_on = trained_entries(meta)
        self._classes = [meta.get('dataset_meta') or {}]

    def before_train(self, runner) -> None:
        """Note what is trained on; parameters that did not fit are trained now."""
        self._misfit, self._weights = None, {}
        if self._unfit and not runner._resume:
            raise RuntimeError(f'{runner._load_from}: {self._unfit}')
        if self._loaded and not runner._resume:
            print_log(f'{runner._load_from}: {self._loaded}', logger='current')
        dataset = runner.train_dataloader.dataset
        metainfo = getattr(dataset, 'metainfo', None) or {}
        for trained in self._trained_on if runner._resume else ():
            if problem := former_split(trained.get('split'), metainfo):
                raise RuntimeError(f'{problem}.')
        self._classes.append(metainfo)
        _check_persons(dataset, getattr(bare_model(runner.model), 'head', None))
        # One process writes the checkpoints.
        marks = fingerprints(dataset) if is_main_process() else []
        self._trained_on += [dict(mark.about, content=mark.content.unique())
                             for mark in marks] or [metainfo]
        if runner.val_loop is not None and is_main_process():
            for reason in compare(self._trained_on, runner.val_dataloader.dataset)[0]:
                _warn(f'Of the validation: {reason}.')

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Hand down what was trained on before, which mmengine forgets."""
        checkpoint['meta'][_HISTORY] = merge_entries(self._trained_on)

    def before_test(self, runner) -> None:
        """Stop the test of an unfit checkpoint."""
        if self._misfit:
            raise RuntimeError(self._misfit)
        self._say_weights(runner)
        if not self._trained_on:
            return
        dataset = runner.test_dataloader.dataset
        found = [compare(self._trained_on, dataset) if is_main_process() else None]
        if is_main_process() and not found[0][1]:
            listed = compare(_listed_for_training(runner.cfg), dataset)[0]
            found[0][0].extend(f'By the training list of this config: {reason}'
                               for reason in listed)
        broadcast_object_list(found)
        reasons, is_known = found[0]
        if not is_known:
            print_log(
                'The checkpoint does not say which clips or persons it was trained on: '
                'whether it has seen some of the test is not known, but for the names '
                'of data set and split, and the training list of the config.',
                logger='current')
        for reason in reasons:
            if not self.force:
                raise RuntimeError(
                    f'{reason}, or insist with --force (--cfg-options '
                    f'{hook_option(runner.cfg, self, "force")}=True).')
            _warn(f'{reason}. Going on, as forced.')
        tested = getattr(dataset, 'metainfo', None) or {}
        others = (_first_other_class(trained, tested) for trained in self._classes)
        for reason in dict.fromkeys(filter(None, others)):
            _warn(reason)

    def _say_weights(self, runner) -> None:
        """Tell the metrics, in the one process that computes them."""
        if self._weights and is_main_process():
            evaluator = runner.test_loop.evaluator
            evaluator.dataset_meta = dict(
                evaluator.dataset_meta or {}, checkpoint=str(runner._load_from),
                weights_sha256=weights_sha256(self._weights))
        self._weights = {}

"""Random numbers that follow from the seed and the position, not from the past.

mmengine saves no random states, so a resumed training sees other crops and another
dropout; without a seed in the config it even shuffles differently. Here every sample
and every iteration of a training begins with generators seeded from its position:

    sample      seed of the sampler, rank, epoch, number within the epoch
    iteration   seed of the process, iterations so far

So nothing has to be restored when a training resumes in another process, however many
workers load the data. Python's, numpy's and torch's generators are seeded alike.
"""
import random
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any, Callable, Optional

import numpy as np
import torch
from mmengine.dataset import InfiniteSampler
from mmengine.dist import get_rank
from mmengine.hooks import DistSamplerSeedHook
from mmengine.runner import IterBasedTrainLoop
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset

from cosam_mm.registry import HOOKS

__all__ = ['SeededSamplingHook', 'seed_loader', 'seed_process', 'seeded_from']


def _seed_cpu(position: Sequence[int]) -> int:
    """Seed the generators of the CPU; return torch's seed."""
    words = np.random.SeedSequence(position).generate_state(8)
    torch_seed = int.from_bytes(words[6:].tobytes(), 'little') >> 1
    random.seed(int.from_bytes(words[:2].tobytes(), 'little'))
    np.random.seed(words[2:6])
    torch.default_generator.manual_seed(torch_seed)
    return torch_seed


def seed_process(*position: int) -> None:
    """Seed all generators of this process, including those of its GPUs.

    Args:
        position: Numbers from 0; other numbers give other states.
    """
    torch_seed = _seed_cpu(position)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(torch_seed)


@contextmanager
def seeded_from(position: Sequence[int]) -> Iterator[None]:
    """Seed the generators of the CPU for a while; afterwards they are as before."""
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    _seed_cpu(position)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])


class _NumberedIndex(int):
    """Index of a sample that knows the position to seed from."""

    def __new__(cls, index: int, position: tuple[int, ...]) -> '_NumberedIndex':
        number = super().__new__(cls, index)
        number.position = position
        return number

    def __getnewargs__(self) -> tuple:
        return int(self), self.position  # workers get it as a pickle


class _NumberedSampler:
    """The indices of another sampler, numbered."""

    def __init__(self, sampler, position: tuple[int, ...]) -> None:
        self.sampler = sampler
        self.position = position  # comes first in each position: seed and rank
        # Comes next. It grows each time that the indices come to an end, for loops that
        # do not count epochs.
        self.epoch = 0
        self.skip = 0  # so many of the next epoch have been seen: they are left out

    def __iter__(self) -> Iterator:
        for number, index in enumerate(self.sampler):
            if number < self.skip:
                continue
            yield (_NumberedIndex(index, (*self.position, self.epoch, number))
                   if isinstance(index, int) else index)
        self.epoch += 1

    def __len__(self) -> int:
        return len(self.sampler)

    def __getattr__(self, name: str) -> Any:
        if name == 'sampler':  # asked for by copy and pickle, before it is there
            raise AttributeError(name)
        return getattr(self.sampler, name)


def _load_seeded(dataset: Dataset, load_batch: Optional[Callable],
                 indices: Sequence[int]) -> list:
    """Samples of a batch, each with generators of its own.

    A data set that loads batches by a method of its own seeds once a batch.
    """
    plain = [int(index) if isinstance(index, _NumberedIndex) else index
             for index in indices]
    if load_batch is not None:
        with _seeded_like(indices[0]):
            return load_batch(plain)
    samples = []
    for index, numbered in zip(plain, indices):
        with _seeded_like(numbered):
            samples.append(dataset[index])
    return samples


def _seeded_like(index: Any) -> AbstractContextManager:
    position = getattr(index, 'position', None)
    return nullcontext() if position is None else seeded_from(position)


def seed_loader(loader: DataLoader, position: tuple[int, ...]
                ) -> Optional[_NumberedSampler]:
    """Make the random numbers of a loader follow from the position of each sample.

    To be called before it is iterated over for the first time. Returns the loader's
    sampler; None where it has no batches of indices, and nothing was changed.
    """
    batches = getattr(loader, 'batch_sampler', None)
    if batches is None or isinstance(loader.dataset, IterableDataset):
        return None
    # Workers are seeded from here, so that the process's own generator is left alone.
    loader.generator = torch.Generator()
    if not isinstance(batches.sampler, _NumberedSampler):
        batches.sampler = _NumberedSampler(batches.sampler, position)
        # torch asks a data set for a whole batch where it has this method.
        own = getattr(loader.dataset, '__getitems__', None)
        if getattr(own, 'func', None) is not _load_seeded:  # it may have two loaders
            loader.dataset.__getitems__ = partial(_load_seeded, loader.dataset, own)
    batches.sampler.position = position
    return batches.sampler


# Key of a checkpoint's meta.
_SEEDING = 'draws'  # the name that checkpoints of version 0.1 have
_TRAIN, _VAL = 0, 1


def _restart_loader(loop: IterBasedTrainLoop) -> None:
    """Let the loop ask its loader as it is now.

    mmengine does so when it makes the loop, before any hook runs: workers have started
    with the data set as it was, and have loaded batches.
    """
    loader = loop.dataloader
    make, loop.dataloader_iterator = type(loop.dataloader_iterator), None
    loader._iterator = None  # where workers live on
    if isinstance(loader.sampler, InfiniteSampler):
        loader.sampler.indices = loader.sampler._indices_of_rank()
    loop.dataloader_iterator = make(loader)


@HOOKS.register_module()
class SeededSamplingHook(DistSamplerSeedHook):
    """Gives a training the same random numbers however often it is resumed.

    A loop that counts iterations loads all that came before once more when it is
    resumed, as mmengine does it. The hook replaces mmengine's ``DistSamplerSeedHook``::

        default_hooks = dict(sampler_seed=dict(type='SeededSamplingHook'))

    The numbers do not depend on the number of workers, but on that of processes.
    """

    def __init__(self) -> None:
        self._resumed: dict = {}
        self._train: Optional[_NumberedSampler] = None
        self._val: Optional[_NumberedSampler] = None
        self.batches_done = 0  # of this epoch, now and when it began
        self._begun_at = 0
        self._counts_iters = False  # the loop

    def can_go_on_within_epoch(self, runner) -> bool:
        """Whether a checkpoint within an epoch would do."""
        # Leaving out k * batch_size indices has to leave out the first k batches.
        return (self._train is not None
                and type(runner.train_dataloader.batch_sampler) is BatchSampler)

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Note where a resumed training stands."""
        if runner._resume:
            self._resumed = (checkpoint.get('meta') or {}).get(_SEEDING) or {}

    def before_train(self, runner) -> None:
        """Seed the loaders."""
        loader = runner.train_dataloader
        seed = self._resumed.get('seed')
        if seed is None:
            seed = getattr(loader.sampler, 'seed', None)
        if not isinstance(seed, int):
            seed = runner.seed
        elif hasattr(loader.sampler, 'seed'):
            loader.sampler.seed = seed
        self._seed = seed
        self._train = seed_loader(loader, (seed, get_rank(), _TRAIN))
        self._counts_iters = isinstance(runner.train_loop, IterBasedTrainLoop)
        self.batches_done = self._begun_at = (
            0 if self._counts_iters else self._resumed.get('batches_done', 0))
        if self._train is not None:
            self._train.skip = (
                self.batches_done * self._resumed.get('batch_size', 0))
        if runner.val_loop is not None:
            self._val = seed_loader(
                runner.val_dataloader, (seed, get_rank(), _VAL))

    def before_train_epoch(self, runner) -> None:
        """Tell the samplers the epoch."""
        super().before_train_epoch(runner)
        if self._train is not None:
            self._train.epoch = runner.epoch
            if self._counts_iters:
                _restart_loader(runner.train_loop)

    def before_train_iter(self, runner, batch_idx: int,
                          data_batch: Optional[Sequence] = None) -> None:
        """Seed the generators for this iteration."""
        seed_process(runner.seed, runner.iter, _TRAIN)

    def after_train_iter(self, runner, batch_idx: int,
                         data_batch: Optional[Sequence] = None,
                         outputs: Optional[dict] = None) -> None:
        """Count."""
        self.batches_done = self._begun_at + batch_idx + 1

    def after_train_epoch(self, runner) -> None:
        """The next epoch begins at its beginning."""
        self.batches_done = self._begun_at = 0
        if self._train is not None:
            self._train.skip = 0

    def before_val_epoch(self, runner) -> None:
        """Seed the generators for this validation."""
        seed_process(runner.seed, runner.iter, _VAL)
        if self._val is not None:
            self._val.epoch = runner.epoch

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Say where the training stands."""
        checkpoint['meta'][_SEEDING] = dict(
            seed=self._seed, batches_done=self.batches_done,
            batch_size=getattr(runner.train_dataloader, 'batch_size', None) or 0)

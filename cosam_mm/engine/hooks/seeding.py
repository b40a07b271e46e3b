"""Random draws that follow from the seed and their place, not from what came before.

Every sample and every iteration of a training begins with random states of its own:

    sample      seed of the sampler, rank, epoch, place in the epoch
    iteration   seed of the process, iterations so far

So nothing has to be restored when a training goes on in another process, however many
workers load the data and whatever they had drawn. Python's, numpy's and torch's
generators are set alike.
"""
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Optional

import numpy as np
import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset

__all__ = ['NumberedIndex', 'NumberedSampler', 'can_skip', 'drawing_from',
           'number_draws', 'seed_process']


def _states(place: Sequence[int]) -> tuple[int, np.ndarray, int]:
    """Seeds for Python's, numpy's and torch's generators."""
    words = np.random.SeedSequence(place).generate_state(8)
    return (int.from_bytes(words[:2].tobytes(), 'little'), words[2:6],
            int.from_bytes(words[6:].tobytes(), 'little') >> 1)


def seed_process(*place: int) -> None:
    """Set all generators of this process, those of its GPUs among them.

    Args:
        place: Numbers from 0 that name the place; others give other states.
    """
    python, of_numpy, of_torch = _states(place)
    random.seed(python)
    np.random.seed(of_numpy)
    torch.default_generator.manual_seed(of_torch)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(of_torch)


@contextmanager
def drawing_from(place: Sequence[int]) -> Iterator[None]:
    """Set the generators of the CPU as for a place; afterwards they are as before."""
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    python, of_numpy, of_torch = _states(place)
    random.seed(python)
    np.random.seed(of_numpy)
    torch.default_generator.manual_seed(of_torch)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])


class NumberedIndex(int):
    """Index of a sample, with the place that its random draws follow from."""

    def __new__(cls, index: int, place: tuple[int, ...]) -> 'NumberedIndex':
        number = super().__new__(cls, index)
        number.place = place
        return number

    def __getnewargs__(self) -> tuple:
        return int(self), self.place  # workers get it as a pickle


class NumberedSampler:
    """The indices of another sampler, numbered.

    Args:
        sampler: The sampler.
        place: Numbers that come first in each place: seed and rank.

    Attributes:
        epoch: Comes next. Each time that the indices come to an end it is one more,
            for loops that do not count epochs.
        skip: So many of the next epoch have been seen: they are left out.
    """

    def __init__(self, sampler, place: tuple[int, ...]) -> None:
        self.sampler = sampler
        self.place = place
        self.epoch = 0
        self.skip = 0

    def __iter__(self) -> Iterator:
        for number, index in enumerate(self.sampler):
            if number < self.skip:
                continue
            yield (NumberedIndex(index, (*self.place, self.epoch, number))
                   if isinstance(index, int) else index)
        self.epoch += 1

    def __len__(self) -> int:
        return len(self.sampler)

    def __getattr__(self, name: str) -> Any:
        if name == 'sampler':  # asked for by copy and pickle, before it is there
            raise AttributeError(name)
        return getattr(self.sampler, name)


def _load(dataset: Dataset, indices: Sequence[int]) -> list:
    """Samples of a batch, each with random states of its own."""
    samples = []
    for index in indices:
        if isinstance(index, NumberedIndex):
            with drawing_from(index.place):
                samples.append(dataset[int(index)])
        else:
            samples.append(dataset[index])
    return samples


def number_draws(loader: DataLoader, place: tuple[int, ...]
                 ) -> Optional[NumberedSampler]:
    """Make what a loader draws follow from the place of each sample.

    To be called before it is iterated over for the first time.

    Returns:
        The loader's sampler now; None where the loader has no batches of indices, and
        nothing was changed.
    """
    batches = getattr(loader, 'batch_sampler', None)
    if batches is None or isinstance(loader.dataset, IterableDataset):
        return None
    # Their seed they draw from here, and leave the process's generator alone.
    loader.generator = torch.Generator()
    if not isinstance(batches.sampler, NumberedSampler):
        batches.sampler = NumberedSampler(batches.sampler, place)
        # torch asks a data set for a whole batch where it has this method.
        loader.dataset.__getitems__ = partial(_load, loader.dataset)
    batches.sampler.place = place
    return batches.sampler


def can_skip(loader: DataLoader) -> bool:
    """Whether leaving out k * batch_size indices leaves out the first k batches."""
    return type(loader.batch_sampler) is BatchSampler

"""Random numbers follow from seed and position, whatever workers there are."""
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset

from cosam_mm.engine.hooks.seeded_sampling_hook import (
    SeededSamplingHook,
    seed_loader,
    seed_process,
)


def numbers():
    """One number of each generator."""
    return random.random(), float(np.random.rand()), float(torch.rand(()))


class RandomSamples(Dataset):
    """Samples of an index and random numbers."""

    def __len__(self):
        return 10

    def __getitem__(self, index):
        assert type(index) is int
        return index, *numbers()


class Order:
    """A sampler like mmengine's: another order in every epoch."""

    epoch = 0

    def __len__(self):
        return 10

    def __iter__(self):
        return iter(random.Random(self.epoch).sample(range(10), 10))

    def set_epoch(self, epoch):
        self.epoch = epoch


def make_loader(workers=0, persistent=False, **kwargs):
    loader = DataLoader(
        RandomSamples(), batch_size=3, sampler=Order(), num_workers=workers,
        persistent_workers=persistent, collate_fn=list, **kwargs)
    return loader, seed_loader(loader, (7, 0))


def epoch_of(loader, sampler, epoch, skip=0):
    loader.sampler.set_epoch(epoch)
    sampler.epoch, sampler.skip = epoch, skip
    return list(loader)


@pytest.mark.parametrize('workers', [
    dict(), dict(workers=1), dict(workers=2, persistent=True)])
def test_samples_do_not_depend_on_workers(workers):
    expected = [epoch_of(*make_loader(), epoch) for epoch in range(2)]
    made = make_loader(**workers)
    found = [epoch_of(*made, epoch) for epoch in range(2)]
    assert found == expected
    values = [value for epoch in found for batch in epoch
              for sample in batch for value in sample[1:]]
    assert len(set(values)) == len(values) == 60  # no number occurs twice
    assert [len(batch) for batch in found[0]] == [3, 3, 3, 1]


def test_an_epoch_is_continued():
    whole = epoch_of(*make_loader(), 4)
    assert epoch_of(*make_loader(workers=1), 4, skip=6) == whole[2:]


def test_seed_and_rank_make_other_numbers():
    loader, sampler = make_loader()
    assert (len(sampler), sampler.set_epoch) == (10, loader.sampler.set_epoch)
    found = []
    for position in ((7, 0), (8, 0), (7, 1)):
        assert seed_loader(loader, position) is sampler  # wrapped once
        found.append(epoch_of(loader, sampler, 0)[0][0][1:])
    assert len(set(found)) == 3


def test_loading_leaves_the_process_as_it_was():
    seed_process(3)
    expected = numbers()
    seed_process(3)
    for workers in (0, 1):
        list(make_loader(workers)[0])
    assert numbers() == expected
    seed_process(4)
    assert numbers() != expected


class Batched(RandomSamples):
    """A data set that loads a batch at once."""

    def __getitems__(self, indices):
        return [(index, 'batched', *numbers()) for index in indices]


def test_own_batches_of_a_data_set_are_kept():
    found = []
    for workers in (0, 2):
        loader = DataLoader(Batched(), batch_size=3, sampler=Order(), collate_fn=list,
                            num_workers=workers)
        seed_loader(loader, (7, 0))
        found.append(list(loader))
    assert found[0] == found[1]
    samples = [sample for batch in found[0] for sample in batch]
    assert {sample[1] for sample in samples} == {'batched'}
    assert len({sample[2:] for sample in samples}) == 10


def test_a_data_set_may_have_two_loaders():
    data = RandomSamples()
    loaders = [DataLoader(data, batch_size=5, collate_fn=list) for _ in range(2)]
    for loader in loaders:
        seed_loader(loader, (7, 0))
    assert list(loaders[0]) == list(loaders[1])
    assert len({sample[1] for batch in loaders[0] for sample in batch}) == 10


def test_loaders_that_are_left_alone():
    class Stream(IterableDataset):
        def __iter__(self):
            return iter(range(3))

    assert seed_loader(DataLoader(Stream()), (0,)) is None
    assert seed_loader(DataLoader(RandomSamples(), batch_size=None), (0,)) is None


class Grouped(torch.utils.data.BatchSampler):
    """Batches that need not follow the order of the sampler."""


@pytest.mark.parametrize(('kind', 'expected'), [
    (torch.utils.data.BatchSampler, True), (Grouped, False)])
def test_epochs_of_plain_batches_only_are_continued(kind, expected):
    loader = DataLoader(RandomSamples(), batch_sampler=kind(Order(), 3, False))
    runner = SimpleNamespace(train_dataloader=loader, val_loop=None, train_loop=None,
                             seed=3)
    hook = SeededSamplingHook()
    assert not hook.can_go_on_within_epoch(runner)
    hook.before_train(runner)
    assert hook.can_go_on_within_epoch(runner) is expected

"""Draws follow from their place: whatever workers there are and were."""
import pickle
import random

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset

from cosam_mm.engine.hooks.seeding import (
    NumberedIndex,
    can_skip,
    drawing_from,
    number_draws,
    seed_process,
)


def draw():
    """One number of each generator."""
    return random.random(), float(np.random.rand()), float(torch.rand(()))


class Drawn(Dataset):
    """Samples that are nothing but draws, after their index."""

    def __len__(self):
        return 10

    def __getitem__(self, index):
        assert type(index) is int
        return index, *draw()


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
    loader = DataLoader(Drawn(), batch_size=3, sampler=Order(), num_workers=workers,
                        persistent_workers=persistent, collate_fn=list, **kwargs)
    return loader, number_draws(loader, (7, 0))


def epoch_of(loader, sampler, epoch, skip=0):
    loader.sampler.set_epoch(epoch)
    sampler.epoch, sampler.skip = epoch, skip
    return list(loader)


@pytest.mark.parametrize('workers', [
    dict(), dict(workers=1), dict(workers=2), dict(workers=2, persistent=True)])
def test_samples_do_not_depend_on_workers(workers):
    expected = [epoch_of(*make_loader(), epoch) for epoch in range(2)]
    made = make_loader(**workers)
    found = [epoch_of(*made, epoch) for epoch in range(2)]
    assert found == expected
    values = [value for epoch in found for batch in epoch
              for sample in batch for value in sample[1:]]
    assert len(set(values)) == len(values) == 60  # no number is drawn twice
    assert [len(batch) for batch in found[0]] == [3, 3, 3, 1]


def test_an_epoch_is_gone_on_with():
    whole = epoch_of(*make_loader(), 4)
    assert epoch_of(*make_loader(workers=1), 4, skip=6) == whole[2:]


def test_seed_and_rank_make_other_draws():
    places = [(7, 0), (8, 0), (7, 1)]
    drawn = []
    for place in places:
        loader, _ = make_loader()
        number_draws(loader, place)
        drawn.append(next(iter(loader))[0][1:])
    assert len(set(drawn)) == 3


def test_loading_leaves_the_process_as_it_was():
    seed_process(3)
    expected = draw()
    seed_process(3)
    for workers in (0, 1):
        list(make_loader(workers)[0])
    assert draw() == expected


def test_seed_process():
    seed_process(1, 2)
    first = draw()
    draw()
    seed_process(1, 2)
    assert draw() == first
    seed_process(2, 1)
    assert draw() != first


def test_drawing_from_restores_after_an_error():
    seed_process(0)
    expected = draw()
    seed_process(0)
    with pytest.raises(ZeroDivisionError), drawing_from((5,)):
        draw()[0] / 0
    assert draw() == expected


def test_numbered_index_is_an_index():
    index = pickle.loads(pickle.dumps(NumberedIndex(4, (1, 2))))
    assert (index, index.place, [0, 1, 2, 3, 'four'][index]) == (4, (1, 2), 'four')


def test_sampler_shows_what_it_wraps():
    loader, sampler = make_loader()
    assert len(sampler) == 10
    assert sampler.set_epoch == loader.sampler.set_epoch
    assert len(loader) == 4
    assert number_draws(loader, (9, 0)) is sampler  # once is enough
    assert sampler.place == (9, 0)


def test_loaders_that_are_left_alone():
    class Stream(IterableDataset):
        def __iter__(self):
            return iter(range(3))

    assert number_draws(DataLoader(Stream()), (0,)) is None
    assert number_draws(DataLoader(Drawn(), batch_size=None), (0,)) is None


def test_can_skip_plain_batches_only():
    loader, _ = make_loader()
    assert can_skip(loader)

    class Grouped(torch.utils.data.BatchSampler):
        """Batches that do not follow the order of the sampler."""

    batches = Grouped(Order(), 3, drop_last=False)
    assert not can_skip(DataLoader(Drawn(), batch_sampler=batches))

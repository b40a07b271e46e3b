"""Batches of P persons with K tracklets each, for losses that compare tracklets.

Hermans et al., *In Defense of the Triplet Loss for Person Re-Identification*, 2017,
section 2. An epoch shows every pid once, K tracklets of it: ceil(num_pids / pids of a
step) steps, and the last is filled up with pids of earlier ones.

With several ranks a step has P pids on each, all different:

    step      rank 0         rank 1
    0         a a b b        c c d d          P = 2, K = 2
    1         e e f f        g g a a

Every rank makes the whole plan with the same generator and takes its part.
"""
from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from typing import Optional

import torch
from mmengine.dist import get_dist_info, sync_random_seed
from torch.utils.data import Dataset, Sampler

from cosam_mm.registry import DATA_SAMPLERS

__all__ = ['PKSampler']


def _shuffled(items: Sequence, generator: torch.Generator) -> list:
    """The items in random order."""
    return [items[k] for k in torch.randperm(len(items), generator=generator).tolist()]


def _plan_steps(
    pids: Sequence[Hashable], pids_per_step: int, generator: torch.Generator
) -> list[list]:
    """Pids of every step of an epoch: all pids, none twice in a step.

    Only the last step holds pids of earlier ones, where numbers do not come out even.
    """
    order = _shuffled(pids, generator)
    missing = -len(order) % pids_per_step
    if missing:
        earlier = order[:len(order) + missing - pids_per_step]
        order += _shuffled(earlier, generator)[:missing]
    return [order[k:k + pids_per_step] for k in range(0, len(order), pids_per_step)]


def _sample_tracklets(
    tracklets: Sequence[int], count: int, generator: torch.Generator
) -> list[int]:
    """``count`` tracklets of one pid, in random order, repeated evenly."""
    rounds, rest = divmod(count, len(tracklets))
    chosen = list(tracklets) * rounds + _shuffled(tracklets, generator)[:rest]
    return _shuffled(chosen, generator)


def _pids_per_batch(num_pids: Optional[int], num_tracklets: int,
                    batch_size: Optional[int], num_rounds: int) -> int:
    """P, from P itself or from the batch size; K is ``num_tracklets``."""
    for name, value in (('num_pids_per_batch', num_pids), ('batch_size', batch_size),
                        ('num_tracklets_per_pid', num_tracklets),
                        ('num_rounds', num_rounds)):
        if value is not None and (not isinstance(value, int) or value < 1):
            raise ValueError(f'{name} must be an integer of at least 1, got {value!r}.')
    if batch_size is None:
        if num_pids is None:
            raise ValueError('Give num_pids_per_batch (P), or batch_size (P * K).')
        return num_pids
    if batch_size % num_tracklets:
        below = batch_size - batch_size % num_tracklets
        allowed = ' or '.join(
            str(size) for size in (below, below + num_tracklets) if size)
        raise ValueError(
            f'batch_size={batch_size} is no multiple of num_tracklets_per_pid='
            f'{num_tracklets}: every pid fills {num_tracklets} items of a batch. '
            f'Use a batch size of {allowed}.')
    if num_pids not in (None, batch_size // num_tracklets):
        raise ValueError(
            f'batch_size={batch_size} is not num_pids_per_batch={num_pids} times '
            f'num_tracklets_per_pid={num_tracklets}. Leave one of them out.')
    return batch_size // num_tracklets


@DATA_SAMPLERS.register_module()
class PKSampler(Sampler):
    """Indices in the order of batches: P pids after each other, K tracklets of each.

    It is a plain sampler: give the loader ``batch_size`` P * K. Pids of fewer than K
    tracklets repeat them evenly. Length and seed are the same on all ranks.

    Args:
        dataset: Items have a ``pid`` (``dataset.get_data_info(index)['pid']``).
        num_pids_per_batch: P, of one rank.
        num_tracklets_per_pid: K.
        batch_size: P * K, of one rank, instead of P.
        seed: The same on all ranks; None: a random one that they share. Each epoch
            adds its number.
        num_rounds: How often an epoch shows every pid: more for a few persons, whose
            epoch would be a step or two.

    Raises:
        ValueError: An argument is no positive integer, the batch size is no multiple
            of K, or the pids of the data set do not suffice for a step.
    """

    def __init__(self,
                 dataset: Dataset,
                 num_pids_per_batch: Optional[int] = None,
                 num_tracklets_per_pid: int = 4,
                 batch_size: Optional[int] = None,
                 seed: Optional[int] = None,
                 num_rounds: int = 1) -> None:
        self.num_pids_per_batch = _pids_per_batch(
            num_pids_per_batch, num_tracklets_per_pid, batch_size, num_rounds)
        self.num_tracklets_per_pid = num_tracklets_per_pid
        self.num_rounds = num_rounds
        self.rank, self.world_size = get_dist_info()
        self.dataset = dataset
        self.seed = sync_random_seed() if seed is None else seed
        self.epoch = 0
        self._pids_per_step = self.num_pids_per_batch * self.world_size
        self._by_pid: dict[int, list[int]] = defaultdict(list)
        for index in range(len(dataset)):
            self._by_pid[dataset.get_data_info(index)['pid']].append(index)
        if self._pids_per_step > len(self._by_pid):
            raise ValueError(
                f'{self.num_pids_per_batch} pids a batch on {self.world_size} rank(s) '
                f'make {self._pids_per_step} different pids a step, but the data set '
                f'has {len(self._by_pid)}. Make num_pids_per_batch or batch_size '
                'smaller.')

    @property
    def batch_size(self) -> int:
        """P * K: what the loader's ``batch_size`` must be."""
        return self.num_pids_per_batch * self.num_tracklets_per_pid

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator()
        generator.manual_seed(self.seed + self.epoch)
        steps = [step for _ in range(self.num_rounds) for step in _plan_steps(
            list(self._by_pid), self._pids_per_step, generator)]
        mine = range(self.rank * self.num_pids_per_batch,
                     (self.rank + 1) * self.num_pids_per_batch)
        for step in steps:
            for index, pid in enumerate(step):
                # Chosen for the others too, to keep the generators in step.
                chosen = _sample_tracklets(
                    self._by_pid[pid], self.num_tracklets_per_pid, generator)
                if index in mine:
                    yield from chosen

    def __len__(self) -> int:
        """Indices of an epoch, on each rank."""
        num_steps = -(-len(self._by_pid) // self._pids_per_step)
        return self.num_rounds * num_steps * self.batch_size

    def set_epoch(self, epoch: int) -> None:
        """Make another plan; a resumed epoch gets the plan it had."""
        self.epoch = epoch

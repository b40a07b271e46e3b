"""P x K batches: what every batch, epoch and rank must hold, whatever the numbers."""
import random
from collections import Counter
from datetime import timedelta

import pytest
import torch.distributed as dist
import torch.multiprocessing as mp
from mmengine.registry import DATA_SAMPLERS
from torch.utils.data import Dataset

from cosam_mm.datasets.reid import PKSampler
from cosam_mm.datasets.reid import pk_sampler as sampler


class Pids(Dataset):
    """A data set that knows pids only, which do not lie side by side."""

    def __init__(self, counts):
        self.pids = [pid for pid, count in counts.items() for _ in range(count)]
        random.Random(0).shuffle(self.pids)

    def __len__(self):
        return len(self.pids)

    def get_data_info(self, index):
        return dict(pid=self.pids[index])

    def __getitem__(self, index):
        return index


def as_rank(monkeypatch, rank, world_size):
    monkeypatch.setattr(sampler, 'get_dist_info', lambda: (rank, world_size))


CASES = [
    # tracklets of each pid, P, K, ranks
    ([1, 2, 3, 4, 5, 9, 30], 3, 4, 1),
    ([1] * 10, 4, 4, 1),
    ([6, 1, 2, 8, 3, 3, 1, 1, 7, 5, 2], 2, 3, 2),
    ([2, 5, 5, 9, 1, 4, 4], 1, 2, 3),
    ([3] * 12, 4, 2, 3),
    ([5, 1], 2, 4, 1),
]


@pytest.mark.parametrize('epoch', [0, 3])
@pytest.mark.parametrize(('counts', 'num_pids', 'num_tracklets', 'world_size'), CASES)
class TestEveryEpoch:

    @pytest.fixture
    def dataset(self, counts):
        return Pids({100 + 7 * k: count for k, count in enumerate(counts)})

    @pytest.fixture
    def batches(self, monkeypatch, dataset, num_pids, num_tracklets, world_size, epoch):
        """Batches of all ranks: [rank][step] -> indices."""
        batches = []
        for rank in range(world_size):
            as_rank(monkeypatch, rank, world_size)
            mine = PKSampler(dataset, num_pids, num_tracklets, seed=7)
            mine.set_epoch(epoch)
            indices, size = list(mine), mine.batch_size
            assert len(indices) == len(mine)
            batches.append([indices[k:k + size] for k in range(0, len(indices), size)])
        return batches

    def test_a_batch_is_p_groups_of_k_whose_tracklets_repeat_evenly(
            self, batches, dataset, num_pids, num_tracklets):
        available = Counter(dataset.pids)
        for batch in (batch for rank in batches for batch in rank):
            assert len(batch) == num_pids * num_tracklets
            groups = [[dataset.pids[index] for index in batch[k:k + num_tracklets]]
                      for k in range(0, len(batch), num_tracklets)]
            assert all(len(set(group)) == 1 for group in groups)
            assert len({group[0] for group in groups}) == num_pids
            counts = Counter(batch)
            for pid in {dataset.pids[index] for index in batch}:
                times = [counts[index] for index in range(len(dataset))
                         if dataset.pids[index] == pid]
                assert max(times) - min(times) <= 1
                assert sum(count > 0 for count in times) == min(
                    available[pid], num_tracklets)

    def test_ranks_step_together_and_every_pid_comes_once_an_epoch(
            self, batches, dataset, num_pids, num_tracklets, world_size):
        pids, per_step = set(dataset.pids), num_pids * world_size
        assert len({len(rank) for rank in batches}) == 1
        for step in zip(*batches):
            assert len({dataset.pids[index] for batch in step
                        for index in batch}) == per_step
        times = Counter(
            dataset.pids[batch[k]] for rank in batches for batch in rank
            for k in range(0, len(batch), num_tracklets))
        steps = (len(pids) + per_step - 1) // per_step
        assert set(times) == pids
        assert max(times.values()) <= 2
        assert sum(times.values()) == steps * per_step
        assert len(batches[0]) == steps


class TestSeeds:

    @pytest.fixture
    def dataset(self):
        return Pids(dict.fromkeys(range(40), 6))

    def test_epochs_differ_and_come_again(self, dataset):
        mine = PKSampler(dataset, 8, seed=1)
        first, again = list(mine), list(mine)
        mine.set_epoch(1)
        second = list(mine)
        mine.set_epoch(0)
        assert first == again == list(mine)
        assert first != second
        assert list(PKSampler(dataset, 8, seed=2)) == second
        assert list(PKSampler(dataset, 8, seed=3)) != first

    def test_all_tracklets_and_partners_come_some_time(self, dataset):
        mine = PKSampler(dataset, 8, seed=0)
        chosen, partners = set(), set()
        for epoch in range(60):
            mine.set_epoch(epoch)
            indices = list(mine)
            chosen.update(indices)
            for k in range(0, len(indices), 32):
                pids = {dataset.pids[index] for index in indices[k:k + 32]}
                partners.update(pids if 0 in pids else ())
        assert chosen == set(range(len(dataset)))
        assert partners == set(range(40))


class TestArguments:

    @pytest.fixture
    def dataset(self):
        return Pids(dict.fromkeys(range(10), 5))

    def test_batch_size_and_pids_are_two_ways_to_say_it(self, dataset):
        mine = DATA_SAMPLERS.build(  # with the default arguments of a runner
            dict(type='PKSampler', num_pids_per_batch=8),
            default_args=dict(dataset=dataset, seed=3))
        assert (mine.batch_size, len(mine)) == (32, 64)
        for pids in ((), (4,)):
            mine = PKSampler(dataset, *pids, batch_size=12, num_tracklets_per_pid=3)
            assert (mine.num_pids_per_batch, mine.batch_size) == (4, 12)

    @pytest.mark.parametrize(('kwargs', 'match'), [
        ({}, 'num_pids_per_batch'), (dict(batch_size=30), '28 or 32'),
        (dict(batch_size=3), r'size of 4\.'),
        (dict(batch_size=32, num_pids_per_batch=4), 'num_pids_per_batch=4'),
        (dict(num_pids_per_batch=0), 'num_pids_per_batch'),
        (dict(num_pids_per_batch=2.), 'integer'),
        (dict(num_pids_per_batch=2, num_tracklets_per_pid=-1), 'num_tracklets_per_pid'),
        (dict(num_pids_per_batch=11), 'has 10')])
    def test_refused(self, dataset, monkeypatch, kwargs, match):
        with pytest.raises(ValueError, match=match):
            PKSampler(dataset, **kwargs)
        as_rank(monkeypatch, 0, 3)  # which need 12 pids
        with pytest.raises(ValueError, match='12 different'):
            PKSampler(dataset, 4)


def sample_on_rank(rank, group_file):
    """Indices on a rank of a real group of two; they have to agree on the seed."""
    dist.init_process_group(
        'gloo', init_method=f'file://{group_file}', rank=rank, world_size=2,
        timeout=timedelta(seconds=120))
    try:
        mine = PKSampler(Pids(dict.fromkeys(range(9), 3)), 2, 2)
        results = [None, None]
        dist.all_gather_object(results, (mine.seed, list(mine)))
        return results
    finally:
        dist.destroy_process_group()


def test_two_processes_agree(tmp_path):
    other = mp.get_context('spawn').Process(
        target=sample_on_rank, args=(1, tmp_path / 'group'))
    other.start()
    (seed, first), (other_seed, second) = sample_on_rank(0, tmp_path / 'group')
    other.join(timeout=60)
    assert other.exitcode == 0
    assert seed == other_seed
    pids = Pids(dict.fromkeys(range(9), 3)).pids
    assert {pids[index] for index in first + second} == set(range(9))
    for step in range(0, len(first), 4):
        both = first[step:step + 4] + second[step:step + 4]
        assert len({pids[index] for index in both}) == 4


def test_an_epoch_of_several_rounds_shows_each_pid_so_often():
    data = Pids({pid: 3 for pid in range(5)})
    rounds = PKSampler(data, num_pids_per_batch=2, num_tracklets_per_pid=2, seed=0,
                       num_rounds=4)
    batches = [[data.pids[k] for k in list(rounds)[start:start + 4]]
               for start in range(0, len(rounds), 4)]
    assert len(batches) == 4 * 3
    assert all(sorted(Counter(batch).values()) == [2, 2] for batch in batches)
    for start in range(0, 12, 3):
        assert set().union(*batches[start:start + 3]) == set(range(5))
    assert batches[:3] != batches[3:6]
    with pytest.raises(ValueError, match='num_rounds'):
        PKSampler(data, num_pids_per_batch=2, num_rounds=0)

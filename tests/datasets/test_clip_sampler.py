"""Order of frames: clips stay whole, whatever is shuffled or shared out."""
import pytest
from mmengine.registry import DATA_SAMPLERS
from mmengine.runner import Runner

from cosam_mm.datasets import clip_sampler
from cosam_mm.datasets.clip_sampler import ClipSampler


def clips_of(sampler, clip_len):
    """Clips of an epoch, each checked to be whole and in order."""
    indices = list(sampler)
    assert len(indices) == len(sampler)
    parts = [indices[k:k + clip_len] for k in range(0, len(indices), clip_len)]
    for part in parts:
        assert part[0] % clip_len == 0
        assert part == list(range(part[0], part[0] + clip_len))
    return [part[0] // clip_len for part in parts]


def test_every_clip_once_in_another_order_each_epoch():
    sampler = ClipSampler(range(60), clip_len=3, seed=0)
    orders = []
    for epoch in (0, 1, 0):
        sampler.set_epoch(epoch)
        orders.append(clips_of(sampler, 3))
        assert sorted(orders[-1]) == list(range(20))
    assert orders[0] == orders[2] != orders[1]
    assert orders[0] != sorted(orders[0])
    assert clips_of(ClipSampler(range(60), clip_len=3, shuffle=False), 3) \
        == list(range(20))


@pytest.mark.parametrize(('num_clips', 'ranks'), [(6, 2), (7, 2), (5, 3), (1, 4)])
def test_ranks_share_the_clips_of_one_order(monkeypatch, num_clips, ranks):
    mine = []
    for rank in range(ranks):
        monkeypatch.setattr(clip_sampler, 'get_dist_info', lambda r=rank: (r, ranks))
        mine.append(clips_of(ClipSampler(range(4 * num_clips), 4, seed=3), 4))
    assert {len(part) for part in mine} == {-(-num_clips // ranks)}
    met = [clip for step in zip(*mine) for clip in step]
    assert set(met) == set(range(num_clips))
    assert met[:num_clips] == list(dict.fromkeys(met)), 'repeated before the end'


def test_a_loader_of_mmengine_builds_it_and_gets_whole_clips():
    assert DATA_SAMPLERS.get('ClipSampler') is ClipSampler
    frames = [dict(inputs=index) for index in range(24)]
    loader = Runner.build_dataloader(dict(
        dataset=frames, batch_size=8, num_workers=0,
        sampler=dict(type='ClipSampler', clip_len=4)), seed=5)
    batches = [batch['inputs'] for batch in loader]
    assert sorted(k for batch in batches for k in batch) == list(range(24))
    for batch in batches:
        for first in (batch[0], batch[4]):
            assert first % 4 == 0
            assert list(range(first, first + 4)) in (batch[:4], batch[4:])


def test_wrong_use(monkeypatch):
    for num_frames, clip_len in ((4, 0), (10, 4), (0, 4)):
        with pytest.raises(ValueError, match='clip'):
            ClipSampler(range(num_frames), clip_len)
    monkeypatch.setattr(clip_sampler, 'get_dist_info', lambda: (0, 2))
    with pytest.raises(ValueError, match='evenly'):
        ClipSampler(range(12), 4, shuffle=False)

"""What all tracklet data sets share: labels, short tracklets, reports, refetching."""
import logging

import pytest

from cosam_mm.datasets.reid import ILIDSVID, MARS, TrackletDataset, TrackletFolder
from cosam_mm.structures.tracklet import Tracklet


class Listed(TrackletDataset):
    """Tracklets given by hand: (pid, camid, number of images)."""

    default_name = 'listed'
    protocol = 'none'
    listed = ((30, 1, 4), (-1, 1, 9), (4, 1, 1), (4, 2, 3), (0, 2, 2), (30, 1, 2))

    def list_tracklets(self):
        return [Tracklet(pid, camid, f't{number}', [f'{k}.jpg' for k in range(count)])
                for number, (pid, camid, count) in enumerate(self.listed)]


def column(dataset, key):
    return [dataset.get_data_info(k)[key] for k in range(len(dataset))]


@pytest.fixture
def make(tmp_path):
    def _make(subset='train', **kwargs):
        return Listed(str(tmp_path), subset, **{'serialize_data': False, **kwargs})
    return _make


def test_labels_are_ranks_of_pids_in_training_only(make):
    train = make()
    assert column(train, 'pid') == [30, 4, 4, 0, 30]
    assert column(train, 'label') == [2, 1, 1, 0, 2]
    assert column(make('gallery'), 'label') == [-1] * 5
    assert column(make('query'), 'subset') == ['query'] * 5


def test_a_line_on_what_there_is(make, log):
    make()
    junk, summary = log(logging.INFO)
    assert '1 junk' in junk
    assert ('listed train: 5 tracklets (12 images) of 3 pids in 2 cameras; '
            '2 pids with one camera, 1 pids with one tracklet.') in summary


def test_short_tracklets_leave_with_their_names(make, log):
    dataset = make(min_frames=3)
    assert column(dataset, 'tracklet_id') == ['t0', 't3']
    # Pid 0 is gone, so labels close up.
    assert column(dataset, 'label') == [1, 0]
    assert dataset.metainfo['num_pids'] == 2
    assert any('t2, t4, t5' in line for line in log(logging.INFO))
    with pytest.raises(ValueError, match='at least 100'):
        make('gallery', min_frames=100)


def test_counts_are_compared_before_short_ones_leave(make):
    assert len(make(min_frames=3, expected_counts=dict(num_tracklets=5))) == 2
    with pytest.raises(ValueError, match='num_pids is 3, expected 2'):
        make(min_frames=3, expected_counts=dict(num_tracklets=2, num_pids=2))


@pytest.mark.parametrize(('kwargs', 'match'), [
    (dict(subset='test'), 'subset'), (dict(min_frames=0), 'min_frames'),
    (dict(min_frames=1.5), 'min_frames'),
    (dict(expected_counts=dict(pids=4)), 'expected_counts'),
    (dict(expected_counts=3), 'expected_counts'),
    (dict(expected_counts='some'), 'expected_counts')])
def test_arguments(make, kwargs, match):
    with pytest.raises(ValueError, match=match):
        make(**kwargs)


@pytest.mark.parametrize('kind', [Listed, MARS, ILIDSVID, TrackletFolder])
def test_misspelt_arguments_are_refused(kind, tmp_path):
    with pytest.raises(TypeError, match='min_frame'):
        kind(str(tmp_path), lazy_init=True, min_frame=3)
    assert kind(str(tmp_path), lazy_init=True, min_frames=3).min_frames == 3


@pytest.mark.parametrize('serialize_data', [True, False])
def test_items_can_be_chosen_and_are_copies(make, serialize_data):
    dataset = make(serialize_data=serialize_data, indices=[4, 0])
    assert column(dataset, 'tracklet_id') == ['t5', 't0']
    dataset.get_data_info(1)['img_paths'].clear()
    assert len(dataset.get_data_info(1)['img_paths']) == 4


class TestUnreadable:

    def test_training_gives_another(self, make):
        def only_t3(results):
            return results if results['tracklet_id'] == 't3' else None
        dataset = make(pipeline=[only_t3])
        assert {dataset[k]['tracklet_id'] for k in range(5)} == {'t3'}

    @pytest.mark.parametrize(('subset', 'index', 'match'), [
        ('train', 4, r'4 attempt\(s\): .t5'),
        ('query', 1, r'1 attempt\(s\): .t2.*blank')])
    def test_nothing_comes_out(self, make, subset, index, match):
        """Training tries others, a test is told what to do."""
        dataset = make(subset, pipeline=[lambda results: None], max_refetch=3)
        with pytest.raises(RuntimeError, match=match):
            dataset[index]

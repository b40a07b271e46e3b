"""What all tracklet data sets share: labels, short tracklets, reports, refetching."""
import logging

import pytest

from cosam_mm.datasets.reid.tracklet_dataset import TrackletDataset
from cosam_mm.structures.tracklet import Tracklet, natural_key


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
    assert 'listed train: 1 junk tracklets (negative pid) are left out.' in junk
    assert ('listed train: 5 tracklets (12 images) of 3 pids in 2 cameras; '
            '2 pids with one camera, 1 pids with one tracklet.') in summary


def test_short_tracklets_leave_with_their_names(make, log):
    dataset = make(min_frames=3)
    assert column(dataset, 'tracklet_id') == ['t0', 't3']
    # Pid 0 is gone, so labels close up.
    assert column(dataset, 'label') == [1, 0]
    assert dataset.metainfo['num_pids'] == 2
    assert any('3 tracklets of fewer than 3 images are left out: t2, t4, t5.' in line
               for line in log(logging.INFO))


def test_counts_are_compared_before_short_ones_leave(make):
    make(min_frames=3, expected_counts=dict(num_tracklets=5, num_pids=3))


def test_nothing_left(make):
    with pytest.raises(ValueError, match=(
            r'listed gallery in .* no tracklet of at least 100 image\(s\)\. Set ')):
        make('gallery', min_frames=100)


@pytest.mark.parametrize(('kwargs', 'match'), [
    (dict(subset='test'), r"subset must be one of \('train', 'query', 'gallery'\)"),
    (dict(min_frames=0), 'min_frames must be an integer of at least 1, got 0'),
    (dict(min_frames=1.5), 'min_frames must be')])
def test_arguments(make, kwargs, match):
    with pytest.raises(ValueError, match=match):
        make(**kwargs)


def test_unknown_arguments_are_no_settings(make):
    with pytest.raises(TypeError, match='min_frame'):
        make(min_frame=3)


def test_indices(make):
    assert len(make(indices=2)) == 2
    assert column(make(indices=[4, 0]), 'tracklet_id') == ['t5', 't0']


@pytest.mark.parametrize('serialize_data', [True, False])
def test_items_are_copies(make, serialize_data):
    dataset = make(serialize_data=serialize_data)
    dataset.get_data_info(0)['img_paths'].clear()
    assert len(dataset.get_data_info(0)['img_paths']) == 4


class TestUnreadable:

    def test_training_draws_another(self, make):
        def only_t3(results):
            return results if results['tracklet_id'] == 't3' else None
        dataset = make(pipeline=[only_t3])
        assert {dataset[k]['tracklet_id'] for k in range(5)} == {'t3'}

    def test_training_ends_some_time(self, make):
        dataset = make(pipeline=[lambda results: None], max_refetch=3)
        with pytest.raises(RuntimeError, match=(
                r'listed train: no tracklet came out of the pipeline in 4 attempt\(s\)'
                r': t5.* in .*warnings above')):
            dataset[4]

    def test_test_names_it(self, make):
        dataset = make('query', pipeline=[lambda results: None])
        with pytest.raises(RuntimeError, match=(
                r"listed query: no tracklet .* in 1 attempt\(s\): t2 in .*"
                r"on_unreadable='blank' in LoadTrackletFrames")):
            dataset[1]


def test_natural_order():
    names = ['f10', 'f9', 'f010', 'g1', 'f', '10', '9', 'f1b2', 'f1b10']
    assert sorted(names, key=natural_key) == [
        '9', '10', 'f', 'f1b2', 'f1b10', 'f9', 'f010', 'f10', 'g1']

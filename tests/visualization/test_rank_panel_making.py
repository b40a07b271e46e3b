"""Panels from a feature file: which pictures, states and words they hold; masks."""
import json

import cv2
import numpy as np
import pytest
import torch

from cosam_mm.evaluation.functional.ranked_lists import (
    IGNORED,
    RIGHT,
    WRONG,
    ExtremeQueries,
    extreme_queries,
)
from cosam_mm.layers.mask_recording import ModuleMasks
from cosam_mm.visualization.mask_overlay import overlay
from cosam_mm.visualization.rank_panel_making import (
    RankMasks,
    find_queries,
    make_panels,
    place_titles,
    read_frame,
)
from cosam_mm.visualization.reid_review import review_features
from cosam_mm.visualization.tracklet_images import find_tracklet_images
from tests.reid_pictures_data import (
    GALLERY,
    TRACKLETS,
    small_config,
    small_features,
    write_tracklets,
)


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    return write_tracklets(tmp_path_factory.mktemp('panels') / 'own')


@pytest.fixture(scope='module')
def images(root):
    return find_tracklet_images(small_config(root))


@pytest.fixture
def review():
    return review_features(small_features(), topk=3)


def make(review, images, queries, **settings):
    return make_panels(review, review.ranking, queries, images, **settings)


def test_entries(review, images):
    panel, = make(review, images, [0], titles=['Best'])
    assert (panel.title, panel.tracklet_id, panel.camid) == ('Best', 'query/1/1/a', 1)
    assert [entry.tracklet_id for entry in panel.entries] == [
        'gallery/1/1/b', 'gallery/4/1/a', 'gallery/1/2/a']
    assert [entry.state for entry in panel.entries] == [IGNORED, WRONG, RIGHT]
    assert [entry.rank for entry in panel.entries] == [0, 1, 2]
    assert [entry.distance for entry in panel.entries] == [1, 2, 3]
    assert [entry.camid for entry in panel.entries] == [1, 1, 2]
    assert (panel.average_precision, panel.first_rank, panel.num_true) == (.5, 2, 1)
    for entry in panel.entries:
        assert tuple(entry.image[0, 0]) == GALLERY[entry.tracklet_id][0]


@pytest.mark.parametrize(('num_frames', 'frames'), [
    (1, [0]), (2, [0, 5]), (3, [0, 2, 5]), (9, [0, 1, 2, 3, 4, 5])])
def test_frames_of_the_query(review, images, num_frames, frames):
    panel, = make(review, images, [1], num_frames=num_frames)
    green = TRACKLETS['query/2/1/a'][0][1]
    assert [image[0, 0, 1] for image in panel.images] == [
        green - 10 * frame for frame in frames]


def test_a_query_without_truth(review, images):
    panel, = make(review, images, [2])
    assert (panel.num_true, panel.first_rank) == (0, 0)
    assert np.isnan(panel.average_precision)


def test_without_images(review):
    panel, = make(review, None, [0])
    assert panel.images == [None]
    assert [entry.image for entry in panel.entries] == 3 * [None]
    assert [entry.rank for entry in panel.entries] == [0, 1, 2]


def test_other_names_get_no_images(images):
    review = review_features(small_features(
        tracklet_id=np.array([f'../own/{name}' for name in TRACKLETS])))
    panel, = make(review, images, [0])
    assert panel.images == [None]
    assert all(entry.image is None for entry in panel.entries)


def test_reranked_lists_differ_where_the_ranking_does(images):
    review = review_features(small_features(), rerank=dict(k1=3, k2=1), topk=4)
    panel, = make_panels(review, review.reranked, [0], images)
    assert sorted(entry.tracklet_id for entry in panel.entries) == sorted(GALLERY)
    assert [entry.distance for entry in panel.entries] == \
        review.reranked.lists.distance[0].tolist()


def test_frames_that_cannot_be_read(tmp_path):
    (tmp_path / 'broken.jpg').write_bytes(b'x')
    assert read_frame([str(tmp_path / 'broken.jpg')], 0) is None
    assert read_frame([str(tmp_path / 'missing.jpg')], 0) is None


def test_large_frames_are_made_smaller(tmp_path):
    path = str(tmp_path / 'large.png')
    cv2.imwrite(path, np.full((1000, 600, 3), 70, np.uint8))
    frame = read_frame([path], 0)
    assert frame.shape == (512, 307, 3)
    assert (frame == 70).all()


# -- words -------------------------------------------------------------------


def test_find_queries(review):
    assert find_queries(review, ['query/3/1/a', 'query/1/1/a']) == [2, 0]
    with pytest.raises(ValueError, match="no readable query '../x' among the 3 of this "
                                         'file; the first are query/1/1/a, query/2'):
        find_queries(review, ['query/1/1/a', '../x'])


def test_places_in_words():
    titles = place_titles(ExtremeQueries(np.arange(23), np.array([40, 41])))
    assert [titles[k] for k in (0, 1, 2, 3, 10, 11, 12, 20, 21, 22)] == [
        'Best', '2nd best', '3rd best', '4th best', '11th best', '12th best',
        '13th best', '21st best', '22nd best', '23rd best']
    assert (titles[40], titles[41]) == ('Worst', '2nd worst')


def test_best_and_worst_of_the_small_data(review):
    assert place_titles(extreme_queries(review.ranking.ranks, 5)) == {
        1: 'Best', 0: 'Worst'}


# -- masks -------------------------------------------------------------------


class Encoder:
    """Stands in for a TrackletEncoder whose masks tell clip and frame."""

    checkpoint = 'some.pth'

    def __init__(self, layers=('plugins.a', 'plugins.b')):
        self.layers, self.clips = layers, []
        self.recipe = json.dumps(dict(pipeline=[
            dict(type='SampleTrackletFrames', num_frames=4)]))

    def encode(self, clip, return_masks):
        assert return_masks
        self.clips.append([int(path.split('/')[-1][0]) for path in clip])
        values = torch.arange(4.)[None, :, None, None].expand(1, 4, 2, 1) / 10
        return None, {name: ModuleMasks(values + number, None)
                      for number, name in enumerate(self.layers)}


PATHS = [f'{frame}.png' for frame in range(6)]


@pytest.mark.parametrize(('number', 'clip', 'value'), [
    (0, [0, 1, 2, 3], 1.), (3, [0, 1, 2, 3], 1.3), (4, [4, 5, 4, 5], 1.),
    (5, [4, 5, 4, 5], 1.1)])
def test_the_mask_is_that_of_the_frame_in_its_clip(number, clip, value):
    encoder = Encoder()
    masks = RankMasks(encoder)
    np.testing.assert_allclose(masks.mask(PATHS, number), [[value], [value]])
    assert encoder.clips == [clip]
    assert masks.layer == 'plugins.b'


def test_another_layer():
    masks = RankMasks(Encoder(), 'a')
    np.testing.assert_allclose(masks.mask(PATHS, 1), [[.1], [.1]])
    with pytest.raises(ValueError, match='is named .*c.*plugins.a, plugins.b'):
        RankMasks(Encoder(), 'c').mask(PATHS, 0)
    with pytest.raises(ValueError, match='some.pth has no COSAM with spatial masks'):
        RankMasks(Encoder(())).mask(PATHS, 0)


def test_masks_lie_over_the_pictures(review, images):
    read = RankMasks(Encoder(('a',)))
    panel, = make(review, images, [0], num_frames=2, read=read)
    for image, frame, value in zip(panel.images, (0, 5), (0, .1)):
        plain = np.empty_like(image)
        plain[:] = (250 - 10 * frame, 0, 0)
        np.testing.assert_array_equal(
            image, overlay(plain, np.full((2, 1), value), alpha=.5))
        assert tuple(image[0, 0]) != tuple(plain[0, 0])


def test_real_masks_are_those_of_a_test(images, tmp_path):
    """The clip of a shown frame gives the masks that the whole tracklet gives."""
    from cosam_mm import TrackletEncoder
    from tests.gallery_data import reid_config, write_checkpoint
    config = reid_config(plugins=[dict(
        cfg=dict(type='COSAM', num_frames=4, spatial_size=(2, 1)),
        position='after_layer3')])
    encoder = TrackletEncoder(write_checkpoint(tmp_path / 'm.pth', config))
    paths = images.paths('query/1/1/a', 1, 1)
    _, whole = encoder.encode(paths, return_masks=True)
    (name, masks), = whole.items()
    read = RankMasks(encoder, 'after_layer3')
    for number in (0, 3, 5):
        np.testing.assert_allclose(
            read.mask(paths, number), masks.spatial[number // 4, number % 4], atol=1e-6)
    assert read.layer == name

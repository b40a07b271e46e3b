"""Rank panels: which images, states and words they show, and how they look."""
import json

import cv2
import numpy as np
import pytest
import torch

from cosam_mm.apis.tracklet_encoder import TrackletEncoder
from cosam_mm.evaluation.functional.ranked_lists import (
    IGNORED,
    RIGHT,
    WRONG,
    ExtremeQueries,
)
from cosam_mm.layers.mask_recording import ModuleMasks
from cosam_mm.visualization.mask_overlay import overlay
from cosam_mm.visualization.rank_panels import (
    LEGEND,
    STATE_COLOURS,
    PanelEntry,
    RankMasks,
    RankPanel,
    describe_panel,
    draw_rank_panels,
    find_queries,
    find_tracklet_images,
    make_panels,
    panel_heading,
    query_titles,
    read_frame,
)
from cosam_mm.visualization.reid_plots import review_features
from tests.gallery_data import reid_config, write_checkpoint
from tests.ranking_data import (
    GALLERY,
    TRACKLETS,
    small_config,
    small_features,
    write_tracklets,
)

COLOURS = {state: tuple(bytes.fromhex(colour[1:]))
           for state, colour in STATE_COLOURS.items()}


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    return find_tracklet_images(small_config(
        write_tracklets(tmp_path_factory.mktemp('panels') / 'own')))


@pytest.fixture(scope='module')
def review():
    return review_features(small_features(), topk=3)


def make(review, images, query, **settings):
    panel, = make_panels(review, review.ranking, [query], images, **settings)
    return panel


# -- from a feature file to panels -----------------------------------------------


def test_entries(review, images):
    panel = make(review, images, 0, titles=['Best'])
    assert (panel.title, panel.tracklet_id, panel.camid) == ('Best', 'query/1/1/a', 1)
    assert [(entry.tracklet_id, entry.state, entry.rank, entry.distance, entry.camid)
            for entry in panel.entries] == [
        ('gallery/1/1/b', IGNORED, 0, 1, 1), ('gallery/4/1/a', WRONG, 1, 2, 1),
        ('gallery/1/2/a', RIGHT, 2, 3, 2)]
    assert (panel.average_precision, panel.first_rank, panel.num_matches) == (.5, 2, 1)
    for entry in panel.entries:
        assert tuple(entry.image[0, 0]) == GALLERY[entry.tracklet_id][0]


@pytest.mark.parametrize(('num_frames', 'frames'), [
    (3, [0, 2, 5]), (9, [0, 1, 2, 3, 4, 5])])
def test_frames_of_the_query(review, images, num_frames, frames):
    panel = make(review, images, 1, num_frames=num_frames)
    green = TRACKLETS['query/2/1/a'][0][1]
    assert [image[0, 0, 1] for image in panel.images] == [
        green - 10 * frame for frame in frames]


def test_without_images_and_with_names_that_the_data_set_lacks(review, images):
    others = review_features(small_features(
        tracklet_id=np.array([f'../own/{name}' for name in TRACKLETS])), topk=3)
    for panel in (make(review, None, 0), make(others, images, 0)):
        assert panel.images == [None]
        assert [entry.image for entry in panel.entries] == 3 * [None]
        assert [entry.rank for entry in panel.entries] == [0, 1, 2]


def test_frames_that_are_unreadable_or_large(tmp_path):
    (tmp_path / 'broken.jpg').write_bytes(b'x')
    assert read_frame([str(tmp_path / 'broken.jpg')], 0) is None
    assert read_frame([str(tmp_path / 'missing.jpg')], 0) is None
    path = str(tmp_path / 'large.png')
    cv2.imwrite(path, np.full((1000, 600, 3), 70, np.uint8))
    frame = read_frame([path], 0)
    assert frame.shape == (512, 307, 3)
    assert (frame == 70).all()


def test_find_queries(review):
    assert find_queries(review, ['query/3/1/a', 'query/1/1/a']) == [2, 0]
    with pytest.raises(ValueError, match="'../x' among the 3"):
        find_queries(review, ['query/1/1/a', '../x'])


def test_query_titles():
    titles = query_titles(ExtremeQueries(np.arange(23), np.array([40, 41])))
    assert [titles[k] for k in (0, 1, 2, 3, 10, 20, 22, 40, 41)] == [
        'Best', '2nd best', '3rd best', '4th best', '11th best', '21st best',
        '23rd best', 'Worst', '2nd worst']


# -- masks -----------------------------------------------------------------------


class Encoder:
    """Stands in for a TrackletEncoder whose masks tell clip and frame."""

    checkpoint = 'some.pth'
    recipe = json.dumps(dict(pipeline=[
        dict(type='SampleTrackletFrames', num_frames=4)]))

    def __init__(self, layers=('plugins.a', 'plugins.b')):
        self.layers, self.clips = layers, []

    def encode(self, clip, return_masks):
        assert return_masks
        self.clips.append([int(path.split('/')[-1][0]) for path in clip])
        values = torch.arange(4.)[None, :, None, None].expand(1, 4, 2, 1) / 10
        return None, {name: ModuleMasks(values + number, None)
                      for number, name in enumerate(self.layers)}


PATHS = [f'{frame}.png' for frame in range(6)]


@pytest.mark.parametrize(('index', 'clip', 'value'), [
    (3, [0, 1, 2, 3], 1.3), (5, [4, 5, 4, 5], 1.1)])
def test_the_mask_is_that_of_the_frame_in_its_clip(index, clip, value):
    encoder = Encoder()
    masks = RankMasks(encoder)
    np.testing.assert_allclose(masks.mask(PATHS, index), [[value], [value]])
    assert encoder.clips == [clip]
    assert masks.layer == 'plugins.b'


def test_masks_of_another_layer_and_of_none():
    np.testing.assert_allclose(RankMasks(Encoder(), 'a').mask(PATHS, 1), [[.1], [.1]])
    for masks, word in ((RankMasks(Encoder(), 'c'), 'plugins.a, plugins.b'),
                        (RankMasks(Encoder(())), 'some.pth')):
        with pytest.raises(ValueError, match=word):
            masks.mask(PATHS, 0)


def test_masks_of_a_model_are_those_of_a_test(images, tmp_path):
    """The clip of a shown frame gives the masks that the whole tracklet gives."""
    config = reid_config(plugins=[dict(
        cfg=dict(type='COSAM', num_frames=4, spatial_size=(2, 1)),
        position='after_layer3')])
    encoder = TrackletEncoder(write_checkpoint(tmp_path / 'm.pth', config))
    paths = images.paths('query/1/1/a', 1, 1)
    _, whole = encoder.encode(paths, return_masks=True)
    (name, masks), = whole.items()
    read = RankMasks(encoder, 'after_layer3')
    for index in (0, 3, 5):
        mask = masks.spatial[index // 4, index % 4].numpy()
        np.testing.assert_allclose(read.mask(paths, index), mask, atol=1e-6)
        expected = overlay(read_frame(paths, index), mask, alpha=.5)
        np.testing.assert_allclose(read(paths, index), expected, atol=1)
    assert read.layer == name


# -- words -----------------------------------------------------------------------


def plain(colour, height=64, width=32):
    return np.full((height, width, 3), colour, np.uint8)


def entry(state, rank, image=None, name='g', camid=2, distance=1.):
    return PanelEntry(name, camid, image, state, rank, distance)


def panel(*entries, images=(None,), **changes):
    return RankPanel(**dict(
        dict(title='Best', tracklet_id='0001C1T0001', camid=1, images=images,
             entries=entries, average_precision=.5, first_rank=2, num_matches=1),
        **changes))


def test_words_of_a_heading(review):
    assert panel_heading(panel()) == (
        'Best: query 0001C1T0001, camera 1. AP 50.0 %, its positive match at rank 2')
    assert panel_heading(panel(title='', camid=-1, num_matches=3)) == (
        'query 0001C1T0001, camera unknown. AP 50.0 %, the first of 3 positive matches '
        'at rank 2')
    nothing = make(review, None, 2)
    assert (nothing.num_matches, nothing.first_rank) == (0, 0)
    assert panel_heading(nothing).endswith('so no AP')


def test_description_for_screen_readers():
    text = describe_panel(panel(
        entry(IGNORED, 0, name='a', camid=1, distance=.25),
        entry(WRONG, 1, name='b', distance=2.5), entry(RIGHT, 2, name='c', camid=-1)))
    assert text.endswith(
        ' no rank not counted: a, camera 1, distance 0.2500; '
        'rank 1 wrong: b, camera 2, distance 2.500; '
        'rank 2 right: c, camera unknown, distance 1.000.')
    assert list(LEGEND) == [RIGHT, WRONG, IGNORED]


# -- drawing ---------------------------------------------------------------------


def cells(image):
    """Left and right edges of the framed cells in the first row, without a heading."""
    row = (image[45:100] != 255).any(axis=2).all(axis=0)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], row, [0]])))
    return edges.reshape(-1, 2)


def test_cells_contain_their_images_and_show_the_state():
    image = draw_rank_panels([panel(
        entry(IGNORED, 0, plain((10, 20, 30))), entry(WRONG, 1, plain((40, 50, 60))),
        entry(RIGHT, 2, plain((70, 80, 90))),
        images=[plain((1, 2, 3)), plain((4, 5, 6))])], is_alone=False)
    edges = cells(image)
    assert len(edges) == 5
    assert len(set((edges[:, 1] - edges[:, 0]).tolist())) == 1
    badges = []
    for (left, right), state in zip(edges[2:], (IGNORED, WRONG, RIGHT)):
        assert tuple(image[150, left]) == tuple(image[150, right - 1]) == COLOURS[state]
        badges.append((image[16:38, left:left + 22] > 190).all(axis=2))
    # States differ without their colours, too.
    assert len({badge.tobytes() for badge in badges}) == len(set(COLOURS.values())) == 3
    for (left, right), colour in zip(edges, (
            (1, 2, 3), (4, 5, 6), (10, 20, 30), (40, 50, 60), (70, 80, 90))):
        assert tuple(image[150, (left + right) // 2]) == colour


def test_other_aspects_are_kept_and_a_missing_image_is_said():
    """A square among images of 1 to 2: bands above and below, nothing stretched."""
    image = draw_rank_panels([panel(
        entry(RIGHT, 1, plain((9, 9, 9))), entry(WRONG, 2, plain((50, 60, 70), 30, 30)),
        entry(RIGHT, 3), images=[plain((9, 9, 9))])], is_alone=False)
    _, _, (left, right), missing = cells(image)
    height, width = (image == (50, 60, 70)).all(axis=2).nonzero()
    assert np.ptp(height) == np.ptp(width) == right - left - 11
    assert tuple(image[100, missing[0]]) == COLOURS[RIGHT]
    inside = image[40:-80, missing[0] + 6:missing[1] - 6]
    assert len(np.unique(inside.reshape(-1, 3), axis=0)) > 2


def test_any_name_is_text_in_one_line_above_the_legend():
    names = ['<script>$x$', 'a\nb\tc', 'Ж中', 'x' * 500, '']
    images = [draw_rank_panels([panel(entry(WRONG, 1, name=name), tracklet_id=name)],
                               title=name or 't') for name in names]
    assert len({image.shape for image in images}) == 1
    for colour in COLOURS.values():
        assert (images[0][-60:] == colour).all(axis=2).sum() > 200

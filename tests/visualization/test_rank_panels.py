"""Colours, marks and words of rank panels, looked up at pixels."""
import numpy as np
import pytest

from cosam_mm.evaluation.functional.ranked_lists import IGNORED, RIGHT, WRONG
from cosam_mm.visualization import rank_panels
from cosam_mm.visualization.rank_panels import (
    STATE_COLOURS,
    PanelEntry,
    RankPanel,
    describe_panel,
    draw_rank_panels,
    panel_heading,
)

COLOURS = {state: tuple(bytes.fromhex(colour[1:]))
           for state, colour in STATE_COLOURS.items()}
WHITE = (255, 255, 255)


def plain(colour, height=64, width=32):
    return np.full((height, width, 3), colour, np.uint8)


def entry(state, rank, image=None, name='g', camid=2, distance=1.):
    return PanelEntry(name, camid, image, state, rank, distance)


def panel(*entries, images=(None,), **changes):
    return RankPanel(**dict(
        dict(title='Best', tracklet_id='0001C1T0001', camid=1, images=images,
             entries=entries, average_precision=.5, first_rank=2, num_true=1),
        **changes))


def cells(image):
    """Left and right edges of the framed cells in the first row, without a heading."""
    row = (image[45:100] != 255).any(axis=2).all(axis=0)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], row, [0]])))
    return edges.reshape(-1, 2)


@pytest.fixture
def image():
    return draw_rank_panels([panel(
        entry(IGNORED, 0, plain((10, 20, 30))), entry(WRONG, 1, plain((40, 50, 60))),
        entry(RIGHT, 2, plain((70, 80, 90))),
        images=[plain((1, 2, 3)), plain((4, 5, 6))])], is_alone=False)


def test_frames_tell_the_state(image):
    found = cells(image)
    assert len(found) == 5
    assert len(set((found[:, 1] - found[:, 0]).tolist())) == 1
    for (left, right), state in zip(found[2:], (IGNORED, WRONG, RIGHT)):
        for x in (left, left + 4, right - 5, right - 1):
            assert tuple(image[150, x]) == COLOURS[state]
    assert len(set(COLOURS.values())) == 3


def test_pictures_are_inside(image):
    for (left, right), colour in zip(cells(image), (
            (1, 2, 3), (4, 5, 6), (10, 20, 30), (40, 50, 60), (70, 80, 90))):
        assert tuple(image[150, (left + right) // 2]) == colour
        assert tuple(image[150, left + 6]) == colour  # 1 to 2, as the cell: no band


def test_marks_differ_without_colour(image):
    shapes = []
    for left, _ in cells(image)[2:]:
        badge = image[16:38, left:left + 22]
        assert tuple(badge[0, 10]) != WHITE
        shapes.append((badge > 190).all(axis=2))
    assert all(shape.any() for shape in shapes)
    dash, cross, tick = shapes
    for a, b in ((dash, cross), (dash, tick), (cross, tick)):
        assert (a != b).mean() > .05
    assert dash.any(axis=1).sum() <= 4 < dash.any(axis=0).sum()  # flat
    assert cross.any(axis=1).sum() > 8


def test_other_shapes_keep_theirs():
    """A square among pictures of 1 to 2: bands above and below, nothing stretched."""
    image = draw_rank_panels([panel(
        entry(RIGHT, 1, plain((9, 9, 9))), entry(WRONG, 2, plain((50, 60, 70), 30, 30)),
        images=[plain((9, 9, 9))])], is_alone=False)
    left, right = cells(image)[2]
    height, width = (image == (50, 60, 70)).all(axis=2).nonzero()
    assert np.ptp(height) == np.ptp(width) == right - left - 11


def test_missing_image_is_said():
    """A cell keeps its frame and mark, and holds words in place of a picture."""
    image = draw_rank_panels([panel(entry(RIGHT, 1))], is_alone=False)
    left, right = cells(image)[1]
    assert tuple(image[100, left]) == COLOURS[RIGHT]
    inside = image[40:-80, left + 6:right - 6]
    assert len(np.unique(inside.reshape(-1, 3), axis=0)) > 2


@pytest.mark.parametrize('is_alone', [True, False])
def test_rows_have_one_height(is_alone):
    one, three = (draw_rank_panels(n * [panel(entry(RIGHT, 1))], is_alone=is_alone)
                  for n in (1, 3))
    two = draw_rank_panels(2 * [panel(entry(RIGHT, 1))], is_alone=is_alone)
    assert one.shape[1] == two.shape[1]
    assert three.shape[0] - two.shape[0] == two.shape[0] - one.shape[0]


def test_rows_of_fewer_frames_stay_aligned():
    image = draw_rank_panels([
        panel(entry(WRONG, 1, plain(7)), images=[plain(5)]),
        panel(entry(WRONG, 1, plain(7)), images=[plain(5), plain(5)])], is_alone=False)
    rows, columns = (image == COLOURS[WRONG]).all(axis=2).nonzero()
    middle = image.shape[0] // 2
    assert columns[rows < middle].min() == columns[rows > middle].min()


def test_legend_stands_below_all_rows():
    """However narrow the sheet would be without it."""
    image = draw_rank_panels([panel(entry(RIGHT, 1, plain(5)))])
    below = image[-60:]
    for colour in COLOURS.values():
        assert (below == colour).all(axis=2).sum() > 200


def test_anything_may_be_a_name():
    """Markup, maths, line ends, no end: all of it is text in one line."""
    names = ['<script>$x$', 'a\nb\tc', 'Ж中', 'x' * 500, '']
    shapes = {draw_rank_panels([panel(entry(WRONG, 1, name=name), tracklet_id=name)],
                               title=name or 't').shape for name in names}
    assert len(shapes) == 1


def test_words_of_a_heading():
    assert panel_heading(panel()) == (
        'Best: query 0001C1T0001, camera 1. AP 50.0 %, the right one at rank 2')
    assert panel_heading(panel(title='', camid=-1, num_true=3)) == (
        'query 0001C1T0001, camera unknown. AP 50.0 %, the first of 3 right ones at '
        'rank 2')
    nothing = panel(num_true=0, first_rank=0, average_precision=np.nan)
    assert panel_heading(nothing).endswith('. Nothing right in the gallery, so no AP')


def test_words_for_those_who_do_not_see():
    text = describe_panel(panel(
        entry(IGNORED, 0, name='a', camid=1, distance=.25),
        entry(WRONG, 1, name='b', distance=2.5), entry(RIGHT, 2, name='c', camid=-1)))
    assert text.endswith(
        ' no rank not counted: a, camera 1, distance 0.2500; '
        'rank 1 wrong: b, camera 2, distance 2.500; '
        'rank 2 right: c, camera unknown, distance 1.000.')


def test_the_legend_says_each_state():
    assert list(rank_panels.LEGEND) == [RIGHT, WRONG, IGNORED]
    assert [words.split(':')[0] for words in rank_panels.LEGEND.values()] == [
        'right', 'wrong', 'not counted']


def test_nothing_to_draw():
    with pytest.raises(ValueError, match='There is no query to draw'):
        draw_rank_panels([])

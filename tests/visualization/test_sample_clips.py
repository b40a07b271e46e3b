"""Clips that score files name: found in the data set's list, shown as strips."""
import os

import cv2
import numpy as np
import pytest
from mmengine.registry import DefaultScope

from cosam_mm.apis.video_input import open_video
from cosam_mm.visualization.action_results import ActionResults, compare_results
from cosam_mm.visualization.sample_clips import (
    SampleClip,
    changed_samples,
    find_clips,
    plot_strips,
    read_strips,
    sample_groups,
)
from tests.action_data import NUM_FRAMES, write_data_root, write_video

NAME = 'class 0/clip (a&b) 0'


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """Videos and frames of 'class k % 2/clip (a&b) k', k < 4, in split 1 and 2."""
    return write_data_root(tmp_path_factory.mktemp('data'), 'demo', 2, frames=True)


def frames_dataset(**settings):
    return dict(type='ActionFrameDataset', name='demo', split=1, **settings)


def results_of(prob, label, names=None):
    names = [f'c{k}' for k in range(len(label))] if names is None else names
    return ActionResults('s.npz', 'demo', 1, 'prob', np.array(names), np.array(label),
                         np.array(prob, float))


# -- finding clips ---------------------------------------------------------------


@pytest.mark.parametrize('dataset', [None, frames_dataset(),
                                     frames_dataset(modality='Flow')])
def test_every_clip_of_the_list_is_found_from_any_scope(root, dataset):
    with DefaultScope.overwrite_default_scope('mmengine'):
        clips = find_clips(str(root), 'demo', 1, 2, dataset)
    assert set(clips) == {(f'class {k % 2}/clip (a&b) {k}', k % 2) for k in range(4)}
    for (name, _), source in clips.items():
        if dataset is None:
            assert source == str(root / 'videos' / f'{name}.avi')
        else:
            assert [os.path.relpath(path, root / 'rawframes' / name) for path in source
                    ] == [f'img_{k:05}.jpg' for k in range(1, NUM_FRAMES + 1)]


def test_lists_of_frames_are_found_if_there_are_no_others(root, tmp_path):
    (tmp_path / 'rawframes').symlink_to(root / 'rawframes')
    name = 'demo_val_split_2_rawframes.txt'
    (tmp_path / name).write_text((root / name).read_text())
    assert len(find_clips(str(tmp_path), 'demo', 2, 2)) == 4


def test_a_list_in_the_config_belongs_to_its_own_split(root, tmp_path):
    (tmp_path / 'own.txt').write_text(f'{NAME}.avi 0\n')
    dataset = dict(type='ActionVideoDataset', split=1,
                   ann_file=str(tmp_path / 'own.txt'))
    assert len(find_clips(str(root), 'demo', 1, 2, dataset)) == 1
    assert len(find_clips(str(root), 'demo', 2, 2, dataset)) == 4


@pytest.mark.parametrize(('name', 'error', 'word'), [
    ('', ValueError, 'config'), ('../demo', ValueError, "'../demo'"),
    ('other', FileNotFoundError, 'other_val_split_1_videos.txt')])
def test_unknown_data_sets_are_refused(root, name, error, word):
    with pytest.raises(error, match=word):
        find_clips(str(root), name, 1, 2)


# -- strips ----------------------------------------------------------------------


@pytest.mark.parametrize('dataset', [None, frames_dataset()])
def test_strip_has_frames_from_the_middle_of_equal_parts(root, dataset):
    clips = find_clips(str(root), 'demo', 1, 2, dataset)
    strips, _ = read_strips(results_of([[1, 0]], [0], [NAME]), [0, 0], clips, 80)
    if dataset is None:
        every = open_video(clips[NAME, 0]).get_batch(range(NUM_FRAMES))
    else:
        every = [cv2.imread(path)[..., ::-1] for path in clips[NAME, 0]]
    expected = np.zeros((80, 4 * 96 + 3 * 3, 3))
    for place, index in enumerate([2, 7, 12, 17]):
        expected[:, 99 * place:99 * place + 96] = every[index]
    is_gap = np.arange(expected.shape[1]) % 99 >= 96
    assert strips[0][:, is_gap].max() < 60
    np.testing.assert_array_equal(strips[0][:, ~is_gap], expected[:, ~is_gap])


def test_clips_that_cannot_be_shown_are_named(tmp_path):
    write_video(tmp_path / 'videos' / 'a' / 'good.avi', seed=3)
    (tmp_path / 'videos' / 'a' / 'bad.avi').write_bytes(b'no video')
    (tmp_path / 'demo_val_split_1_videos.txt').write_text('a/good.avi 0\na/bad.avi 0\n')
    clips = find_clips(str(tmp_path), 'demo', 1, 2)
    # A name only selects from the list, and the label must agree.
    names = ['a/good', 'a/bad', '/etc/passwd', 'a/../a/good', 'a/good', '']
    results = results_of(np.ones((6, 2)), [0, 0, 0, 0, 1, 0], names)
    strips, problems = read_strips(results, range(6), clips, 40)
    assert set(strips) == {0}
    assert strips[0].shape == (40, 4 * 48 + 3 * 3, 3)
    for problem, name in zip(problems, names[1:], strict=True):
        assert repr(name) in problem


def test_plot_shows_each_strip_with_its_caption():
    strips = [np.full((10, width, 3), width, np.uint8) for width in (40, 20, 30)]
    clips = [SampleClip(k, f'heading {k}', f'text {k}', f'clip {k}') for k in range(3)]
    figure = plot_strips(strips, clips, 'All')
    shown = [axes for axes in figure.axes if axes.images]
    for axes, strip, clip in zip(shown, strips, clips, strict=True):
        np.testing.assert_array_equal(axes.images[0].get_array(), strip)
        assert axes.get_title(loc='left') == clip.heading
        assert axes.texts[0].get_text() == f'{clip.text}\n{clip.name}'
    assert figure.get_suptitle() == 'All'


# -- choosing clips --------------------------------------------------------------


def test_sample_groups():
    """Clips 0-2 are taken for class 1; clip 3 is right."""
    results = results_of([[.4, .6], [.1, .9], [.2, .8], [0, 1]], [0, 0, 0, 1])
    pairs, hardest, nearest = sample_groups(results, ['walk', 'run'], 2)
    # The most confident mistakes come first.
    assert [(clip.heading, clip.name) for clip in pairs.clips] == [
        ('walk taken for run', 'c1'), ('walk taken for run', 'c2')]
    assert all(part in pairs.clips[0].text for part in ('3', '100%', '10.0%', '90.0%'))
    assert [clip.row for clip in hardest.clips] == [1, 2]
    # Nearly right are 0 and 2, of which 2 is among the hardest.
    assert [clip.row for clip in nearest.clips] == [0]


def test_changed_samples():
    """The second model wins clips 1 and 2, and loses clip 0."""
    first = results_of([[.8, .2], [.3, .7], [.4, .6], [1, 0]], [0, 0, 0, 0])
    second = results_of([[.1, .9], [.6, .4], [.9, .1], [1, 0]], [0, 0, 0, 0])
    group = changed_samples(compare_results(first, second), ['walk', 'run'], 1)
    assert [(clip.row, clip.name) for clip in group.clips] == [(2, 'c2'), (0, 'c0')]
    assert group.clips[0].heading == 'walk: only the second is right'
    assert 'second: walk (90.0%)' in group.clips[0].text
    assert changed_samples(compare_results(first, first), ['walk', 'run'], 1) is None

"""Clips that score files name: found by the data set's list, and by nothing else."""
import cv2
import numpy as np
import pytest
from mmengine.registry import DefaultScope

from cosam_mm.evaluation.metrics.action_metric import save_scores
from cosam_mm.visualization.action_clips import dataset_of_test, find_clips
from cosam_mm.visualization.action_pictures import read_strips, sample_groups
from cosam_mm.visualization.action_review import read_results
from tests.action_data import NUM_FRAMES, write_data_root, write_video


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """Videos and frames of 'class k % 2/clip (a&b) k', k < 4; frames shift by 2."""
    return write_data_root(tmp_path_factory.mktemp('data'), 'demo', 2, frames=True)


def frames_dataset(**settings):
    return dict(type='ActionFrameDataset', name='demo', split=1, **settings)


def test_scopes_of_other_projects_do_not_matter(root):
    with DefaultScope.overwrite_default_scope('mmengine'):
        assert find_clips(str(root), 'demo', 1, 2, None)


@pytest.mark.parametrize('dataset', [None, frames_dataset(),
                                     frames_dataset(modality='Flow')])
def test_every_clip_of_the_list_is_found(root, dataset):
    clips = find_clips(str(root), 'demo', 1, 2, dataset)
    assert len(clips) == 4
    for k in range(4):
        clip = clips.find(f'class {k % 2}/clip (a&b) {k}', k % 2)
        frames = clip.frames(4)
        assert frames.shape == (4, 80, 96, 3)
        # Frames 2, 7, 12 and 17 of 20, each shifted by two columns a frame.
        for n in range(3):
            moved = np.roll(frames[n], 2 * 5, axis=1)
            assert np.abs(moved.astype(int) - frames[n + 1]).mean() < 8
            assert np.abs(frames[n].astype(int) - frames[n + 1]).mean() > 20


def test_frames_from_the_middle_of_equal_parts(root):
    video = find_clips(str(root), 'demo', 1, 2).find('class 0/clip (a&b) 0', 0)
    every = video.frames(NUM_FRAMES)
    np.testing.assert_array_equal(video.frames(4), every[[2, 7, 12, 17]])
    folder = find_clips(str(root), 'demo', 1, 2, frames_dataset()).find(
        'class 0/clip (a&b) 0', 0)
    images = [cv2.imread(str(root / 'rawframes/class 0/clip (a&b) 0' / name))
              for name in ('img_00003.jpg', 'img_00008.jpg', 'img_00013.jpg',
                           'img_00018.jpg')]
    np.testing.assert_array_equal(folder.frames(4), np.stack(images)[..., ::-1])


def test_lists_of_frames_are_found_where_there_are_no_others(root, tmp_path):
    (tmp_path / 'rawframes').symlink_to(root / 'rawframes')
    name = 'demo_val_split_2_rawframes.txt'
    (tmp_path / name).write_text((root / name).read_text())
    assert len(find_clips(str(tmp_path), 'demo', 2, 2)) == 4


def test_the_config_says_where_its_own_split_is_listed(root, tmp_path):
    (tmp_path / 'own.txt').write_text('class 0/clip (a&b) 0.avi 0\n')
    dataset = dict(type='ActionVideoDataset', split=1,
                   ann_file=str(tmp_path / 'own.txt'))
    assert len(find_clips(str(root), 'demo', 1, 2, dataset)) == 1
    # The scores are of another split, which that list knows nothing of.
    assert len(find_clips(str(root), 'demo', 2, 2, dataset)) == 4


@pytest.mark.parametrize(('sample_id', 'label'), [
    ('/etc/passwd', 0), ('../../etc/passwd', 0), ('class 0/../class 1/clip (a&b) 1', 1),
    ('class 0/clip (a&b) 0', 1), ('class 0/clip (a&b) 0.avi', 0), ('', 0)])
def test_a_name_only_picks_from_the_list(root, sample_id, label):
    assert find_clips(str(root), 'demo', 1, 2).find(sample_id, label) is None


@pytest.mark.parametrize(('name', 'error', 'message'), [
    ('', ValueError, 'does not say of which data set it is: give the config'),
    ('../demo', ValueError, "'../demo', which names no list"),
    ('other', FileNotFoundError, 'other_val_split_1_videos.txt')])
def test_unknown_data_sets_are_refused(root, name, error, message):
    with pytest.raises(error, match=message):
        find_clips(str(root), name, 1, 2)


@pytest.mark.parametrize('config', [
    None, {}, dict(test_dataloader=None), dict(test_dataloader=3),
    dict(test_dataloader=dict(dataset='x'))])
def test_config_without_a_test(config):
    assert dataset_of_test(config) == {}


def test_strips(root, tmp_path):
    """A damaged and an unlisted clip are named, the others shown."""
    data = tmp_path / 'data'
    write_video(data / 'videos' / 'a' / 'good.avi', seed=3)
    (data / 'videos' / 'a' / 'bad.avi').write_bytes(b'no video')
    (data / 'demo_val_split_1_videos.txt').write_text('a/good.avi 0\na/bad.avi 0\n')
    save_scores(str(tmp_path / 's.npz'), dict(
        sample_id=['a/good', 'a/bad', '/etc/passwd'], label=[0, 0, 0],
        score=[[0, 1], [0, 2], [0, 3]], unreadable=[False] * 3, dataset='demo',
        split=1, score_type='logit'))
    results = read_results(tmp_path / 's.npz')
    clips = find_clips(str(data), 'demo', 1, 2)
    strips = read_strips(results, [0, 1, 2, 0], clips, height=40)
    assert set(strips.images) == {0}
    assert strips.images[0].shape == (40, 4 * 48 + 3 * 3, 3)
    assert len(strips.problems) == 2
    assert 'bad.avi cannot be read' in strips.problems[0]
    assert strips.problems[1] == ("The list of the data set has no clip '/etc/passwd' "
                                  'of class 0.')


def test_sample_groups(tmp_path):
    """Clips 0-2 are taken for class 1, the surest first; clip 3 is right."""
    save_scores(str(tmp_path / 's.npz'), dict(
        sample_id=['c0', 'c1', 'c2', 'c3'], label=[0, 0, 0, 1], dataset='', split=0,
        score=[[.4, .6], [.1, .9], [.2, .8], [0, 1]], unreadable=[False] * 4,
        score_type='prob'))
    pairs, hardest, nearest = sample_groups(
        read_results(tmp_path / 's.npz'), ['walk', 'run'], 2)
    assert [clip.caption for clip in pairs.clips] == [
        ('walk taken for run', '3 of its clips (100%), as this: true class 10.0%, '
         'predicted 90.0%', 'c1'),
        ('walk taken for run', '3 of its clips (100%), as this: true class 20.0%, '
         'predicted 80.0%', 'c2')]
    assert [clip.row for clip in hardest.clips] == [1, 2]
    # Nearly right are 0 and 2, of which 2 was shown among the hardest.
    assert [clip.row for clip in nearest.clips] == [0]

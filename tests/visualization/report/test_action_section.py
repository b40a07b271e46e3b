"""The section on action recognition: its numbers, and what it names as missing."""
import math
import os
import sys

import numpy as np
import pytest

from cosam_mm.visualization.report.report_builder import build_report, write_report
from tests.action_data import write_data_root
from tests.report_content import read_image, sections_of
from tests.work_dir_data import write_checkpoint, write_scores

IDS = [f'class {k % 2}/clip (a&b) {k}' for k in range(4)]
# Clip 1 is taken for class 0, the others are right.
PROB = np.array([[.9, .1], [.7, .3], [.6, .4], [.2, .8]])
OTHER = np.array([[.8, .2], [.4, .6], [.3, .7], [.1, .9]])
TITLE = 'Action recognition'
PAIRS = 'Most confused pairs'


def write(path, prob=PROB, age=0, **changes):
    write_scores(path, **{**dict(sample_id=IDS, score=prob, label=[0, 1, 0, 1],
                                 split=1, score_type='prob'), **changes})
    os.utime(path, (2e9 - age, 2e9 - age))
    return path


def section_of(root):
    return sections_of(root)[TITLE]


@pytest.fixture
def root(tmp_path):
    """A folder with one score file and its data set."""
    write_data_root(tmp_path / 'data', 'demo', 2)
    write(tmp_path / 'scores.npz')
    return tmp_path


def test_whole_section(root):
    view = section_of(root)
    assert view.missing == {}
    assert view.facts == {
        'top-1 accuracy': '75.00%', 'mean class accuracy': '75.00%',
        'cross-entropy': f'{-sum(map(math.log, (.9, .3, .6, .8))) / 4:.4f}',
        'data set': 'demo', 'official split': '1', 'clips': '4', 'classes': '2',
        'clips that could not be read (left out)': '0', 'scores': 'scores.npz',
    }
    assert view.tables[PAIRS] == [['class 1', 'class 0', '1', '50.0']]
    assert list(view.images)[:2] == ['Confusion matrix', 'Accuracy of each class']
    # All clips, the hardest first.
    assert view.tables['All clips'] == [
        [IDS[1], 'class 1', 'class 0', '30.0', '70.0', 'no'],
        [IDS[2], 'class 0', 'class 0', '60.0', '60.0', 'yes'],
        [IDS[3], 'class 1', 'class 1', '80.0', '80.0', 'yes'],
        [IDS[0], 'class 0', 'class 0', '90.0', '90.0', 'yes']]
    # Sample clips with their predictions.
    assert PAIRS in view.all("div[@class='gallery-block']/h3")
    _, caption, data = view.images['class 1 taken for class 0']
    assert caption.startswith(IDS[1])
    assert '30.0%' in caption
    image, kind = read_image(data)
    assert (kind, len(image)) == ('JPEG', 96)


def test_two_models_are_compared(root):
    (root / 'plain').mkdir()
    write(root / 'copy.npz', age=1)  # the same scores once more are no other model
    write(root / 'plain' / 'scores.npz', OTHER, age=2)
    view = section_of(root)
    assert [row[0] for row in view.tables['All score files']] == [
        'scores.npz', 'copy.npz', 'plain/scores.npz']
    # The older model gets clip 1 right, the newest one clip 2; both get 0 and 3.
    assert view.images['Clip by clip'][0].startswith(
        '2 clips both right, 1 only the first, 1 only the second, 0 both wrong')
    assert view.tables['Clips that one model alone gets right'] == [
        [IDS[2], 'class 0', 'class 1 (70.0%)', 'class 0 (60.0%)', 'won'],
        [IDS[1], 'class 1', 'class 1 (60.0%)', 'class 0 (70.0%)', 'lost']]
    assert {'class 0: only the second is right',
            'class 1: only the first is right'} <= set(view.images)


def test_other_clips_are_not_compared_and_nothing_may_be_wrong(root):
    write(root / 'split2.npz', age=1, sample_id=['a', 'b', 'c', 'd'], split=2)
    write(root / 'scores.npz', [[1, 0], [0, 1], [1, 0], [0, 1]])
    view = section_of(root)
    assert [row[2] for row in view.tables['All score files']] == ['1', '2']
    assert 'Clip by clip' not in view.images
    assert 'No clip is taken for another class.' in view.all('p')


def test_classes_are_named_by_the_checkpoint(root):
    (root / 'data' / 'demo_classes.txt').unlink()
    write_checkpoint(root / 'epoch_1.pth', dataset_meta=dict(classes=['walk', 'run']))
    assert section_of(root).tables[PAIRS] == [['run', 'walk', '1', '50.0']]


# -- what is missing -------------------------------------------------------------


def test_training_without_a_score_file(tmp_path):
    (tmp_path / 'c.py').write_text('model = dict(cls_head=dict(type="BERTHead"))\n')
    ((why, how),) = section_of(tmp_path).missing.values()
    assert 'no score file' in why
    assert how.endswith(f'--dump {tmp_path / "scores.npz"}')


def test_damaged_score_files_give_way_to_the_next(root):
    write(root / 'foreign.npz', age=-2, label=[0, 1, 0, 7])
    view = section_of(root)
    ((what, (why, _)),) = view.missing.items()
    assert what.endswith('foreign.npz')
    assert 'Label 7' in why
    assert view.facts['top-1 accuracy'] == '75.00%'
    (root / 'scores.npz').unlink()
    view = section_of(root)
    assert (len(view.missing), view.tables) == (1, {})


@pytest.mark.parametrize(('damage', 'what', 'why'), [
    ('all', 'frames of the clips', 'folder'),
    ('line', 'frames of the clips', 'label 9'),
    ('video', f'frames of 1 clip(s) of "{PAIRS}"', 'cannot be read'),
    ('classes', 'the names of the classes', 'names 1 classes')])
def test_damaged_data_set(root, damage, what, why):
    data = root / 'data'
    split = data / 'demo_val_split_1_videos.txt'
    {'all': lambda: data.rename(root / 'elsewhere'),
     'line': lambda: split.write_text('class 0/clip (a&b) 0.avi 9'),
     'video': lambda: (data / 'videos' / f'{IDS[1]}.avi').write_bytes(b'no video'),
     'classes': lambda: (data / 'demo_classes.txt').write_text('one\n')}[damage]()
    view = section_of(root)
    assert why in view.missing[what][0]
    assert len(view.tables['All clips']) == 4


def test_a_package_that_is_not_installed_costs_its_section_only(root, monkeypatch):
    name = 'cosam_mm.visualization.report.action_section'
    monkeypatch.setitem(sys.modules, name, None)
    ((why, how),) = section_of(root).missing.values()
    assert name in why
    assert how == "pip install 'cosam_mm[action]'"


def test_section_of_a_full_test_is_small(tmp_path):
    num_classes, num_clips = 101, 1500
    label = np.arange(num_clips) % num_classes
    score = np.random.default_rng(0).normal(size=(num_clips, num_classes))
    score[np.arange(num_clips), label] += 2
    write(tmp_path / 's.npz', score, label=label, score_type='logit',
          sample_id=[f'ACertainClass{k}/v_ACertainClass{k}_g01_c{i}'
                     for i, k in enumerate(label)])
    report = build_report(tmp_path, with_masks=False, progress=False)
    assert write_report(report, tmp_path / 'r.html') < 2e6
    assert (tmp_path / 'r.html').read_text().count('<tr>') > num_clips

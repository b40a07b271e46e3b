"""The section on action recognition: its numbers, and what it says of what is missing.
"""
import builtins
import io
import math

import numpy as np
import pytest
from PIL import Image

from cosam_mm.evaluation.metrics.action_metric import save_scores
from cosam_mm.visualization.report.action_section import build_section
from cosam_mm.visualization.report.content import (
    Facts,
    Gallery,
    Missing,
    Picture,
    Report,
    Table,
)
from cosam_mm.visualization.report.page import render_page
from cosam_mm.visualization.report.work_dir import ReportOptions, WorkDir
from tests.action_data import write_data_root

IDS = [f'class {k % 2}/clip (a&b) {k}' for k in range(4)]
# Clip 1 is taken for class 0, the others are right.
PROB = np.array([[.9, .1], [.7, .3], [.6, .4], [.2, .8]])
OTHER = np.array([[.8, .2], [.4, .6], [.3, .7], [.1, .9]])
OPTIONS = ReportOptions(num_samples=2, progress=False)
CONFIG = "model = dict(type='Recognizer3D', cls_head=dict(type='BERTHead'))\n"


def write(path, prob=PROB, **changes):
    save_scores(str(path), {**dict(
        sample_id=IDS, score=prob, label=[0, 1, 0, 1], unreadable=[False] * 4,
        dataset='demo', split=1, score_type='prob'), **changes})
    return path


def blocks_of(section, kind):
    return [block for block in section.blocks if isinstance(block, kind)]


def named(section, kind, title):
    (block,) = [b for b in blocks_of(section, kind) if b.title == title]
    return block


@pytest.fixture
def work(tmp_path):
    """A folder with one score file and its data set."""
    data = write_data_root(tmp_path / 'data', 'demo', 2)
    return WorkDir(tmp_path, data_root=data,
                   score_files=(write(tmp_path / 'scores.npz'),))


def test_whole_section(work):
    section = build_section(work, OPTIONS)
    assert (section.key, blocks_of(section, Missing)) == ('action', [])
    facts = dict(blocks_of(section, Facts)[0].rows)
    assert facts['top-1 accuracy'] == '75.00%'
    assert facts['mean class accuracy'] == '75.00%'
    assert facts['cross-entropy'] == pytest.approx(
        -sum(map(math.log, (.9, .3, .6, .8))) / 4, abs=1e-4)
    assert (facts['data set'], facts['official split']) == ('demo', 1)
    assert (facts['clips'], facts['scores']) == ('4', 'scores.npz')
    assert named(section, Table, 'Most confused pairs').rows == [
        ['class 1', 'class 0', 1, 50]]
    assert [b.title for b in blocks_of(section, Picture)] == [
        'Confusion matrix', 'Accuracy of each class']
    assert all(b.data.startswith('<svg') for b in blocks_of(section, Picture))


def test_table_of_all_clips_begins_with_the_hardest(work):
    rows = named(build_section(work, OPTIONS), Table, 'All clips').rows
    assert [row[0] for row in rows] == [IDS[1], IDS[2], IDS[3], IDS[0]]
    assert rows[0][1:3] == ['class 1', 'class 0']
    assert rows[0][3:5] == pytest.approx([30, 70])
    assert [row[5] for row in rows] == ['no', 'yes', 'yes', 'yes']


def test_sample_clips_are_shown_with_their_predictions(work):
    section = build_section(work, OPTIONS)
    assert [b.title for b in blocks_of(section, Gallery)] == [
        'Most confused pairs', 'Hardest clips: given least of their true class']
    (picture,) = named(section, Gallery, 'Most confused pairs').items
    assert picture.title == 'class 1 taken for class 0'
    assert picture.caption == (f'{IDS[1]}: 1 of its clips (50%), as this: true class '
                               '30.0%, predicted 70.0%')
    image = Image.open(io.BytesIO(picture.data))
    assert (image.format, image.height) == ('JPEG', 96)
    assert len(picture.data) < 50_000


def test_same_files_give_the_same_section(work):
    assert build_section(work, OPTIONS) == build_section(work, OPTIONS)


def test_two_models_are_compared(work, tmp_path):
    (tmp_path / 'plain').mkdir()
    older = write(tmp_path / 'plain' / 'scores.npz', OTHER)
    # The same scores once more are no other model.
    again = write(tmp_path / 'copy.npz')
    section = build_section(
        WorkDir(tmp_path, data_root=work.data_root,
                score_files=(*work.score_files, again, older)), OPTIONS)
    assert [row[0] for row in named(section, Table, 'All score files').rows] == [
        'scores.npz', 'copy.npz', 'plain/scores.npz']
    # The older model gets clip 1 right, the newest one clip 2; both get 0 and 3.
    assert named(section, Picture, 'Clip by clip').alt.startswith(
        '2 clips both right, 1 only the first, 1 only the second, 0 both wrong')
    assert named(section, Table, 'Clips that one model alone gets right').rows == [
        [IDS[2], 'class 0', 'class 1 (70.0%)', 'class 0 (60.0%)', 'won'],
        [IDS[1], 'class 1', 'class 1 (60.0%)', 'class 0 (70.0%)', 'lost']]
    assert len(named(section, Gallery, 'Clips won and lost').items) == 2


def test_tests_of_other_clips_are_listed_and_not_compared(work, tmp_path):
    other = write(tmp_path / 'split2.npz', sample_id=['a', 'b', 'c', 'd'], split=2)
    section = build_section(WorkDir(tmp_path, score_files=(*work.score_files, other)),
                            OPTIONS)
    assert [row[2] for row in named(section, Table, 'All score files').rows] == [1, 2]
    assert 'Clip by clip' not in [b.title for b in blocks_of(section, Picture)]


def test_nothing_wrong(work, tmp_path):
    right = write(tmp_path / 's.npz', [[1, 0], [0, 1], [1, 0], [0, 1]])
    section = build_section(WorkDir(tmp_path, score_files=(right,)), OPTIONS)
    assert 'No clip is taken for another class.' in [
        getattr(block, 'text', '') for block in section.blocks]


# -- what is missing -------------------------------------------------------------


@pytest.mark.parametrize('config', [
    None, 'model = dict(type="VideoReID")', 'model = 3', 'import os', 'x = (', ''])
def test_does_not_apply(tmp_path, config):
    path = tmp_path / 'config.py' if config is not None else None
    if path:
        path.write_text(config)
    assert build_section(WorkDir(tmp_path, config=path), OPTIONS) is None


def test_no_score_file(tmp_path):
    (tmp_path / 'config.py').write_text(CONFIG)
    section = build_section(WorkDir(tmp_path, config=tmp_path / 'config.py'), OPTIONS)
    (missing,) = section.blocks
    assert missing.why == 'There is no score file.'
    assert missing.how == ('python tools/test.py CONFIG CHECKPOINT --dump '
                           f'{tmp_path / "scores.npz"}')


def test_damaged_score_file_gives_way_to_the_next(work, tmp_path):
    broken, foreign = tmp_path / 'broken.npz', tmp_path / 'foreign.npz'
    broken.write_bytes(work.score_files[0].read_bytes()[:300])
    write(foreign, label=[0, 1, 0, 7])
    section = build_section(
        WorkDir(tmp_path, data_root=work.data_root, score_files=(
            broken, foreign, tmp_path / 'gone.npz', *work.score_files)), OPTIONS)
    found = blocks_of(section, Missing)
    assert [m.what for m in found] == [
        f'the scores in {name}' for name in ('broken.npz', 'foreign.npz', 'gone.npz')]
    assert 'is not a score file' in found[0].why
    assert 'Label 7 in row 3' in found[1].why
    assert dict(blocks_of(section, Facts)[0].rows)['top-1 accuracy'] == '75.00%'


def test_all_score_files_damaged(tmp_path):
    (tmp_path / 'x.npz').write_bytes(b'')
    section = build_section(WorkDir(tmp_path, score_files=(tmp_path / 'x.npz',)),
                            OPTIONS)
    assert [type(block) for block in section.blocks] == [Missing]


def test_no_data_set(work):
    section = build_section(WorkDir(work.root, score_files=work.score_files), OPTIONS)
    (missing,) = blocks_of(section, Missing)
    assert (missing.what, missing.why) == ('frames of the clips',
                                           "The data set's folder is not there.")
    assert blocks_of(section, Gallery) == []
    assert len(named(section, Table, 'All clips').rows) == 4


@pytest.mark.parametrize(('damage', 'what', 'why'), [
    ('list', 'frames of the clips', 'demo_val_split_1_videos.txt'),
    ('line', 'frames of the clips', 'label 9 is outside'),
    ('video', 'frames of 1 clip(s) of "Most confused pairs"', 'cannot be read'),
    ('classes', 'the names of the classes', 'names 1 classes')])
def test_damaged_data_set(work, damage, what, why):
    data = work.data_root
    listed = data / 'demo_val_split_1_videos.txt'
    if damage == 'list':
        for path in data.glob('*_val_split_1_*.txt'):
            path.unlink()
    elif damage == 'line':
        listed.write_text('class 0/clip (a&b) 0.avi 9\n')
    elif damage == 'video':
        (data / 'videos' / f'{IDS[1]}.avi').write_bytes(b'no video')
    else:
        (data / 'demo_classes.txt').write_text('one\n')
    section = build_section(work, OPTIONS)
    missing = {m.what: m.why for m in blocks_of(section, Missing)}
    assert why in missing[what]
    assert len(named(section, Table, 'All clips').rows) == 4


def test_damaged_config_is_said(work, tmp_path):
    (tmp_path / 'config.py').write_text('import os\n')
    section = build_section(
        WorkDir(tmp_path, config=tmp_path / 'config.py', data_root=work.data_root,
                score_files=work.score_files), OPTIONS)
    (missing,) = blocks_of(section, Missing)
    assert missing.what == 'what the config of the test says'
    assert 'no plain setting' in missing.why
    assert len(blocks_of(section, Gallery)) == 2


def test_without_mmaction(work, monkeypatch):
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name == 'mmaction':
            raise ModuleNotFoundError("No module named 'mmaction'")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, '__import__', refuse)
    (missing,) = build_section(work, OPTIONS).blocks
    assert missing.why == "A package is not installed: No module named 'mmaction'."
    assert missing.how == "pip install 'cosam_mm[action]'"


# -- in a page -------------------------------------------------------------------


def test_names_stay_text_in_the_page(tmp_path):
    names = ['<script>alert(1)</script>/$a$', '"quoted"&/$b$', 'x/c', 'x/d']
    path = write(tmp_path / 's.npz', sample_id=names)
    (tmp_path / 'demo_classes.txt').write_text('<img src=x>\n$one$ of $two$\n')
    (tmp_path / 'videos').mkdir()
    section = build_section(
        WorkDir(tmp_path, data_root=tmp_path, score_files=(path,)), OPTIONS)
    page = render_page(Report('t', '', [], [section]))
    assert '<script>alert' not in page
    assert '<img src=x>' not in page
    assert '$one$ of $two$' in page


@pytest.mark.parametrize(('num_classes', 'num_clips', 'limit'), [
    (51, 1530, 1.5e6), (101, 3783, 3e6), (400, 2000, 4e6)])
def test_section_of_a_full_test_is_small(tmp_path, num_classes, num_clips, limit):
    rng = np.random.default_rng(0)
    label = np.arange(num_clips) % num_classes
    score = rng.normal(size=(num_clips, num_classes))
    score[np.arange(num_clips), label] += 2
    path = write(tmp_path / 's.npz', score, label=label, score_type='logit',
                 unreadable=np.zeros(num_clips, bool),
                 sample_id=[f'ACertainClass{k}/v_ACertainClass{k}_g01_c{i}'
                            for i, k in enumerate(label)])
    section = build_section(WorkDir(tmp_path, score_files=(path,)), OPTIONS)
    assert len(named(section, Table, 'All clips').rows) == num_clips
    assert len(render_page(Report('t', '', [], [section]))) < limit

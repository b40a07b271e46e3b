"""From a work dir to its report: what it says, and what it says is missing."""
import hashlib
import json
import sys
import types

import pytest

from cosam_mm.visualization.report import report_builder as build
from cosam_mm.visualization.report.content import (
    Clip,
    Code,
    Facts,
    Gallery,
    Missing,
    Report,
    Section,
    Text,
)
from cosam_mm.visualization.report.report_builder import (
    build_report,
    missing_of,
    size_advice,
    write_report,
)
from cosam_mm.visualization.report.run_log import (
    RunRecord,
    cosam_places,
    model_in_words,
    views_of_test,
)
from cosam_mm.visualization.report.summary_section import summarize
from cosam_mm.visualization.report.test_metrics import find_rating
from cosam_mm.visualization.report.work_dir import ReportOptions, WorkDir
from cosam_mm.visualization.report.work_dir_collection import find_work_dir
from tests.work_dir_data import TESTED, damage_work_dir, write_features, write_work_dir

QUIET = ReportOptions(progress=False)


@pytest.fixture
def root(tmp_path):
    return write_work_dir(tmp_path / 'de mo')


@pytest.fixture
def topics(monkeypatch):
    """Stand-ins for the sections of others, which note how they were called."""
    calls = []

    def add(topic, section):
        def build_section(found, options):
            calls.append((topic, found, options))
            return section
        monkeypatch.setitem(sys.modules, f'cosam_mm.visualization.report.{topic}',
                            types.SimpleNamespace(build_section=build_section))
    add('training', Section('training', 'Training', '', [Text('curves')]))
    add('action', None)
    add('reid', None)
    add('masks', Section('masks', 'Masks', '', [Missing('masks', 'Because.', 'do x')]))
    return calls


def facts(section):
    return {name: value for block in section.blocks if isinstance(block, Facts)
            for name, value in block.rows}


# -- summary -------------------------------------------------------------------------


def test_summary_says_what_was_written_down(root):
    summary = summarize(find_work_dir(root))
    checkpoint = root / 'run' / 'best_acc_top1_epoch_20.pth'
    digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()[:12]
    assert summary.title == 'net'
    assert summary.subtitle == (
        'Action recognition on demo, split 2, trained on 2 January 2026')
    assert list(summary.headline) == [('Top-1 accuracy', '75.0 %'),
                                      ('Mean class accuracy', '50.0 %')]
    assert facts(summary.first) == {
        'Task': 'Action recognition', 'Config': 'net',
        'Model': 'Recognizer3D: ResNeXt3D-14, BERTHead',
        'COSAM': 'after layer3: 4 frames of 4 \N{MULTIPLICATION SIGN} 4, without '
                 'channel mask',
        'Parameters': '0.00 M in the checkpoint', 'Data set': 'demo, split 2',
        'Clips in testing': '32 frames, TenCrop',
        'Trained for': '20 of 30 epochs, 1,234 iterations',
        'When': '2026-01-02 03:04 to 2026-01-02 04:00', 'Seed': '7',
        'Checkpoint': 'run/best_acc_top1_epoch_20.pth\nSHA-256 begins with ' + digest,
        'Figures': 'Top-1 accuracy 75.0 %, Mean class accuracy 50.0 %, '
                   'Cross-entropy 0.2500'}
    assert not [block for block in summary.first.blocks if isinstance(block, Missing)]


def test_last_section_tells_how_to_do_it_again(root):
    last = summarize(find_work_dir(root)).last
    (code,) = [block for block in last.blocks if isinstance(block, Code)]
    config = f"'{root}/run/net.py'"
    assert code.text.splitlines() == [
        f'python tools/train.py {config} --work-dir work_dirs/once_more --seed 7',
        f"python tools/test.py {config} '{root}/run/best_acc_top1_epoch_20.pth' "
        f"--work-dir '{root}/test' --dump '{root}/scores.npz'",
        f"python tools/report.py '{root}'"]
    found = facts(last)
    assert found['GPU 0'] == 'NVIDIA H200'
    assert found['PyTorch'] == '2.13.0'
    assert {'cosam_mm', 'torch', 'mmengine', 'numpy'} <= set(found)
    assert found['Scores'] == 'scores.npz'
    assert found['Data set'] == 'not found'


def test_shipped_config_is_named_by_its_place(root):
    (root / 'run' / 'net.py').rename(root / 'run' / 'resnext14_cosam_bert_demo.py')
    last = summarize(find_work_dir(root)).last
    (code,) = [block for block in last.blocks if isinstance(block, Code)]
    assert 'tools/train.py configs/resnext14_cosam_bert_demo.py ' in code.text


def test_reid(tmp_path):
    write_features(tmp_path / 'features.npz')
    log = tmp_path / 'test' / TESTED / f'{TESTED}.json'
    log.parent.mkdir(parents=True)
    log.write_text(json.dumps({
        'reid/mAP': .5, 'reid/R1': .25, 'reid/rerank_mAP': .75,
        'reid/num_queries': 180., 'reid/num_unreadable': 0.,
        'reid/protocol': 'gallery without queries',
        'reid/split': '', 'reid/dataset': 'mars'}))
    summary = summarize(find_work_dir(tmp_path), 'Mine')
    assert summary.title == 'Mine'
    assert list(summary.headline) == [
        ('mAP', '50.0 %'), ('R1', '25.0 %'), ('mAP, re-ranked', '75.0 %')]
    found = facts(summary.first)
    assert found['Task'] == 'Person re-identification'
    assert found['Figures'] == 'mAP 50.0 %, R1 25.0 %'
    assert found['Re-ranked'] == 'mAP 75.0 %'
    assert found['Counts'] == 'Queries: 180'
    assert found['Protocol'] == 'gallery without queries'


def test_figures_of_splits_then_tests_then_validations(root):
    found = find_work_dir(root)
    assert find_rating(found).values['acc/top1'] == 0.75
    assert find_rating(found).origin == 'test'
    splits = {'acc/top1': dict(splits=[.5, .75], mean=.625)}
    (root / 'all_splits.json').write_text(json.dumps(splits))
    assert find_rating(found) == ({'acc/top1': .625}, 'splits')
    assert summarize(found).headline == [
        ('Top-1 accuracy, mean of the splits', '62.5 %')]
    (root / 'all_splits.json').write_text('{"acc/top1": 1}')  # none of ours
    assert find_rating(found).origin == 'test'
    only_run = find_work_dir(root / 'run')
    assert find_rating(only_run) == ({'acc/top1': .25, }, 'validation')
    summary = summarize(only_run)
    assert list(summary.headline) == [('Top-1 accuracy in validation', '25.0 %')]
    assert 'no test wrote its figures' in summary.first.lead


@pytest.mark.parametrize(('model', 'places'), [
    (dict(type='X'), []),
    (dict(backbone=dict(type='PluggedBackbone', plugins=[
        dict(cfg=dict(type='COSAM'), after='blocks_1.mlp'),
        dict(cfg=dict(type='NonLocal3d'), after='layer4')])), ['after blocks_1.mlp']),
    (dict(neck=dict(type='NaiveCOSAM', with_spatial=False)),
     ['in the model, without spatial mask']),
])
def test_places_of_cosam(model, places):
    assert cosam_places(RunRecord(config=dict(model=model))) == places


def test_words_of_a_config():
    run = RunRecord(config=dict(model=dict(type='VideoReID', backbone=dict(
        type='PluggedBackbone', backbone=dict(type='TimmModel', depth=50)))))
    assert model_in_words(run) == 'VideoReID: TimmModel-50'
    run.config['test_dataloader'] = dict(dataset=dict(query=dict(pipeline=[
        dict(type='SampleTrackletFrames', mode='all_clips', num_frames=4)])))
    assert views_of_test(run) == 'all clips: 4 frames'
    run.config['test_dataloader'] = dict(dataset=dict(pipeline=[
        dict(type='SampleFrames', clip_len=8, num_clips=3)]))
    assert views_of_test(run) == '3 \N{MULTIPLICATION SIGN} 8 frames'
    assert views_of_test(RunRecord()) == model_in_words(RunRecord()) == ''


# -- the report ----------------------------------------------------------------------


def test_sections_come_in_their_order(root, topics):
    report = build_report(root, QUIET)
    assert [section.key for section in report.sections] == [
        'summary', 'training', 'masks', 'again']
    assert [topic for topic, _, _ in topics] == ['training', 'action', 'reid', 'masks']
    assert {options for _, _, options in topics} == {QUIET}
    assert isinstance(topics[0][1], WorkDir)
    assert [missing.what for missing in missing_of(report)] == ['masks']


def test_masks_can_be_left_out(root, topics):
    build_report(root, ReportOptions(with_masks=False, progress=False))
    assert [topic for topic, _, _ in topics] == ['training', 'action', 'reid']


def test_a_package_that_is_not_installed_costs_its_section_only(root, topics,
                                                                monkeypatch):
    def refuse(name):
        if name.endswith('reid'):
            raise ModuleNotFoundError("No module named 'scipy'", name='scipy')
        if name.endswith('action'):
            raise ModuleNotFoundError('a bug', name='cosam_mm.nothing')
        return sys.modules[name]
    monkeypatch.setattr(build, 'TOPICS', ('training', 'reid'))
    monkeypatch.setattr(build.importlib, 'import_module', refuse)
    missing, = list(missing_of(build_report(root, QUIET)))
    assert missing.why == 'The package scipy is not installed.'
    assert missing.how == 'pip install scipy'
    monkeypatch.setattr(build, 'TOPICS', ('action',))
    with pytest.raises(ModuleNotFoundError, match='a bug'):
        build_report(root, QUIET)


def test_nothing_but_damage_yields_a_report_that_says_so(tmp_path):
    root = damage_work_dir(tmp_path / 'x', tmp_path / 'proof')
    report = build_report(root, QUIET)
    assert not (tmp_path / 'proof').exists()
    what = [missing.what for missing in missing_of(report)]
    assert {'what best_x.pth holds', 'what scores.npz holds', 'what features.npz holds',
            'what config.py holds', 'config and model', 'the checkpoint',
            'figures of a test'} <= set(what)
    assert all(missing.why for missing in missing_of(report))
    assert report.title == 'x'
    path = tmp_path / 'report.html'
    write_report(report, path)
    text = path.read_text(encoding='utf-8')
    assert text.count('Not shown: ') == len(what)


def test_a_config_alone_yields_a_report(tmp_path):
    (tmp_path / 'net.py').write_text("model = dict(type='Recognizer3D')")
    report = build_report(tmp_path, QUIET)
    assert report.title == 'net'
    assert {'the checkpoint', 'figures of a test'} <= {
        missing.what for missing in missing_of(report)}


def test_write_leaves_the_old_file_until_the_new_one_is_whole(tmp_path, root, topics,
                                                              monkeypatch):
    report = build_report(root, QUIET)
    path = tmp_path / 'new' / 'report.html'
    size = write_report(report, path)
    data = path.read_bytes()
    assert size == len(data)
    assert b'\r' not in data

    def fail(*_):
        raise OSError('disk full')
    monkeypatch.setattr(build.os, 'replace', fail)
    with pytest.raises(OSError, match='disk full'):
        write_report(build_report(root, QUIET, title='Other'), path)
    assert path.read_bytes() == data
    assert [one.name for one in path.parent.iterdir()] == ['report.html']


def test_a_big_report_names_its_biggest_parts():
    clips = [Clip(f'clip {size}', bytes(size * 1_000_000), '') for size in (1, 9, 3)]
    report = Report('t', '', [], [Section('a', 'A', '', [Gallery(clips)])])
    assert size_advice(report, 25_000_000) == ''
    assert size_advice(report, 26_400_000) == (
        'the report has 26 MB, mostly clip 9 (12.0 MB), clip 3 (4.0 MB), clip 1 '
        '(1.3 MB). Fewer --samples, or --no-masks, make it smaller.')

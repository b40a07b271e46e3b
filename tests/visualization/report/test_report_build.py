"""From a work dir to its report: what it finds, says, and names as missing."""
import hashlib
import json
import os
import pickle

import numpy as np
import pytest
import torch

from cosam_mm.visualization.report import page
from cosam_mm.visualization.report.report_builder import build_report, write_report
from projects.fault_injection.hostile_files import Payload
from tests.report_content import sections_of, simple
from tests.training_logs import epochs, train_line, val_line, write_log
from tests.work_dir_data import (
    LOG,
    METRICS,
    TESTED,
    TRAINED,
    write_checkpoint,
    write_features,
    write_scores,
    write_work_dir,
)

QUIET = dict(with_masks=False, progress=False)


@pytest.fixture
def root(tmp_path):
    return write_work_dir(tmp_path / 'de mo')


def files_of(root, **options):
    """The files that a report says it was made of, and those it could not read."""
    sections = sections_of(root, **options)
    damaged = {what.removeprefix('what ').removesuffix(' holds'): why
               for what, (why, _) in sections['Summary'].missing.items()
               if what.endswith(' holds')}
    return sections['Reproduce'].facts, damaged


# -- what it finds ---------------------------------------------------------------------


def test_arrays_tell_scores_from_features(tmp_path):
    write_features(tmp_path / 'scores.npz')
    write_scores(tmp_path / 'b' / 'features.npz')
    np.savez(tmp_path / 'other.npz', x=1)
    files, damaged = files_of(tmp_path)
    assert (files['Features'], files['Scores'], damaged) == (
        'scores.npz', 'b/features.npz', {})


def test_results_come_newest_first_and_logs_oldest_first(root):
    write_scores(root / 'a.npz')
    os.utime(root / 'scores.npz', (2e9, 2e9))
    early, odd = '20250101_000000', '99999999_999999'  # digits, but no time
    for name in (early, odd):  # written last, of an earlier run
        path = root / 'test' / name / f'{name}.json'
        path.parent.mkdir()
        path.write_text('{"acc/top1": 0.5}')
        os.utime(path, (7, 7))
    files, _ = files_of(root)
    assert files['Scores'].split('\n') == ['scores.npz', 'a.npz']
    assert files['Test logs'].split('\n') == [
        f'test/{name}/{name}.json' for name in (odd, early, TESTED)]


def test_data_root_is_given_or_beside_or_configured(root, tmp_path):
    named, configured = tmp_path / 'named', tmp_path / 'configured'
    named.mkdir()
    configured.mkdir()
    config = root / 'run' / 'net.py'
    config.write_text(config.read_text().replace('nowhere', str(configured)))
    assert files_of(root)[0]['Data set'] == str(configured)
    (root / 'data').mkdir()
    (root / 'data' / 'broken.npz').write_text('not searched')
    files, damaged = files_of(root)
    assert (files['Data set'], damaged) == (str(root / 'data'), {})
    assert files_of(root, data_root=named)[0]['Data set'] == str(named)


def test_checkpoint_is_the_given_or_the_next_that_can_be_read(root, tmp_path):
    write_checkpoint(tmp_path / 'other.pth')
    files, _ = files_of(root, checkpoint=tmp_path / 'other.pth')
    assert files['Checkpoint'] == str(tmp_path / 'other.pth')
    torch.save(Payload(tmp_path / 'proof'), tmp_path / 'bomb.pth')
    with pytest.raises(ValueError, match='refused'):
        build_report(root, **QUIET, checkpoint=tmp_path / 'bomb.pth')
    assert not (tmp_path / 'proof').exists()
    broken = root / 'run' / 'best_acc_top1_epoch_20.pth'
    broken.write_bytes(broken.read_bytes()[:500])
    files, damaged = files_of(root)
    assert files['Checkpoint'] == 'run/best_acc_top1_epoch_9.pth'
    assert list(damaged) == ['run/best_acc_top1_epoch_20.pth']
    for path in (root / 'run').glob('best_*'):
        path.rename(path.with_name('iter_1.pth'))
    assert files_of(root)[0]['Checkpoint'] == 'run/epoch_20.pth'


def test_hostile_files_are_named_and_not_run(tmp_path):
    proof = tmp_path / 'proof'
    for name in ('best_x.pth', 'scores.npz'):
        (tmp_path / name).write_bytes(pickle.dumps(Payload(proof)))
    torch.save(Payload(proof), tmp_path / 'epoch_1.pth')
    np.savez(tmp_path / 'features.npz', feature=np.array([Payload(proof)], object),
             pid=[1], camid=[1])
    (tmp_path / 'config.py').write_text(
        f'import os\nos.mkdir({str(proof)!r})\nmodel = {{}}')
    (tmp_path / 'scalars.json').write_text('{"loss": \n[[[')
    sections = sections_of(tmp_path, with_masks=True)
    assert not proof.exists()
    reasons = {what: why for section in sections.values()
               for what, (why, _) in section.missing.items()}
    assert 'refused' in reasons['what epoch_1.pth holds']
    assert 'scores.npz' in reasons['what scores.npz holds']
    assert 'data' in reasons['what config.py holds']
    assert any('features.npz is not a feature file' in why for why in reasons.values())
    assert {'what best_x.pth holds', 'config and model', 'the checkpoint',
            'metrics of a test'} <= set(reasons)
    assert all(reasons.values())


def test_each_file_is_found_and_foreign_ones_are_passed_over(root):
    (root / 'notes.py').write_text('print("mine")')
    for name, text in dict(notes='{"a": 1}', list='[1]', broken='{',
                           null='{"a/b": null}', deep='[' * 100_000).items():
        (root / f'{name}.json').write_text(text)
    (root / 'results.pkl').write_bytes(pickle.dumps(Payload(root / 'proof')))
    (root / 'link.npz').symlink_to(root / 'nowhere.npz')
    (root / '.hidden').mkdir()
    write_scores(root / '.hidden' / 'a.npz')
    files, damaged = files_of(root)
    assert damaged == {}
    assert not (root / 'proof').exists()
    assert 'Features' not in files
    assert files.items() >= {
        'Folder': str(root), 'Config': 'run/net.py',
        'Checkpoint': 'run/best_acc_top1_epoch_20.pth',
        'Training logs': f'run/{TRAINED}/vis_data/scalars.json',
        'Test logs': f'test/{TESTED}/{TESTED}.json', 'Scores': 'scores.npz',
        'Data set': 'not found'}.items()


@pytest.mark.parametrize('text', [
    b'model = 1', b"model = print('ran')", b'\xff\xfe', b'x = ('])
def test_what_is_no_config(tmp_path, text):
    (tmp_path / 'c.py').write_bytes(text)
    _, damaged = files_of(tmp_path)
    assert 'c.py is no config' in damaged['c.py']


@pytest.mark.parametrize(('name', 'options', 'error', 'word'), [
    ('', {}, ValueError, '--work-dir'), ('gone', {}, FileNotFoundError, 'gone'),
    ('', dict(data_root='gone'), FileNotFoundError, 'gone'),
    ('', dict(checkpoint='gone.pth'), FileNotFoundError, 'gone')])
def test_folders_without_results_are_refused(tmp_path, name, options, error, word):
    (tmp_path / 'a.json').write_text('{"a": 1}')
    with pytest.raises(error, match=word):
        build_report(tmp_path / name, **QUIET, **options)


# -- summary and reproduction ----------------------------------------------------------


def test_summary_says_what_was_written_down(root):
    report = build_report(root, **QUIET)
    checkpoint = root / 'run' / 'best_acc_top1_epoch_20.pth'
    digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()[:12]
    assert (report.title, report.subtitle) == (
        'net', 'Action recognition on demo, split 2, trained on 2 January 2026')
    assert list(report.headline) == [('Top-1 accuracy', '75.0 %'),
                                     ('Mean class accuracy', '50.0 %')]
    summary = sections_of(root)['Summary']
    assert summary.missing == {}
    assert summary.facts == {
        'Task': 'Action recognition', 'Config': 'net',
        'Model': 'Recognizer3D: ResNeXt3D-14, BERTHead',
        'COSAM': 'after layer3: 4 frames of 4 \N{MULTIPLICATION SIGN} 4, without '
                 'channel mask',
        'Parameters': '0.00 M in the checkpoint', 'Data set': 'demo, split 2',
        'Clips in testing': '32 frames, TenCrop',
        'Trained for': '20 of 30 epochs, 1,234 iterations',
        'When': '2026-01-02 03:04 to 2026-01-02 04:00', 'Seed': '7',
        'Checkpoint': 'run/best_acc_top1_epoch_20.pth\nSHA-256 begins with ' + digest,
        'Metrics': 'Top-1 accuracy 75.0 %, Mean class accuracy 50.0 %, '
                   'Cross-entropy 0.2500',
        'Tested checkpoint': 'no file says which weights made them'}


def weights_of(path, value):
    """Writes a checkpoint whose weights have one value; gives their SHA-256."""
    content = torch.load(path, weights_only=True)
    content['state_dict']['layer.weight'] += value
    torch.save(content, path)
    digest = hashlib.sha256()
    for name, shape in (('bn.running_mean', (50,)), ('layer.weight', (3, 4))):
        digest.update(f'{name} torch.float32 {shape}\n'.encode())
        digest.update(content['state_dict'][name].numpy().tobytes())
    return digest.hexdigest()


@pytest.mark.parametrize('of_splits', [False, True])
def test_metrics_of_another_checkpoint_get_a_word(root, of_splits):
    """Above, in the facts, in the section; with the command for the shown one."""
    own = weights_of(root / 'run' / 'best_acc_top1_epoch_20.pth', 1.)
    other = weights_of(root / 'run' / 'epoch_20.pth', 2.)

    def write(weights):
        made = dict(weights_sha256=weights, checkpoint='x/epoch_20.pth',
                    list_sha256='0' * 64)
        write_scores(root / 'scores.npz', **made)
        named = {f'acc/{key}': value for key, value in made.items()}
        (root / 'test' / TESTED / f'{TESTED}.json').write_text(
            json.dumps({**METRICS, **named}))
        if of_splits:
            (root / 'all_splits.json').write_text(json.dumps(
                {'acc/top1': dict(splits=[.5, 1.], mean=.75), **{
                    name: dict(splits=[value.replace(own, other), value])
                    for name, value in named.items()}}))
        views = sections_of(root)
        return (build_report(root, **QUIET).headline[0][0], views['Summary'],
                views['Action recognition'].facts['weights'])

    headline, summary, line = write(own)
    assert ('another' in headline, summary.missing, 'Tested checkpoint' in summary.facts
            ) == (False, {}, False)
    assert line == 'those of run/best_acc_top1_epoch_20.pth'
    headline, summary, line = write(other)
    assert headline.endswith('of another checkpoint')
    for words in (line, summary.facts['Tested checkpoint']):
        assert 'x/epoch_20.pth' in words
        assert other[:12] in words
        assert own[:12] in words
    why, how = summary.missing['metrics of run/best_acc_top1_epoch_20.pth']
    assert other[:12] in why
    assert 'best_acc_top1_epoch_20.pth' in how


def test_summary_of_a_training_that_was_resumed_and_tested(root):
    """From the first start to the last end; metrics beside what made them."""
    later = '20260105_060708'
    write_log(root / 'run', later, epochs(2, 3))
    for path, line in ((root / 'run' / later / f'{later}.log',
                        '2026/01/05 07:08:09 - mmengine - INFO - Epoch'),
                       (root / 'test' / TESTED / f'{TESTED}.log',
                        'mmengine - INFO - Load checkpoint from other/epoch_3.pth')):
        path.write_text(LOG + line + '\n')
    facts = sections_of(root)['Summary'].facts
    assert facts['When'] == '2026-01-02 03:04 to 2026-01-05 07:08'
    assert facts['Tested checkpoint'].startswith('other/epoch_3.pth, no file says')


def test_last_section_tells_how_to_reproduce(root):
    view = sections_of(root)['Reproduce']
    config = f"'{root}/run/net.py'"
    assert view.all('code')[0].splitlines() == [
        f'python tools/train.py {config} --work-dir work_dirs/reproduced --seed 7',
        f"python tools/test.py {config} '{root}/run/best_acc_top1_epoch_20.pth' "
        f"--work-dir '{root}/test' --dump '{root}/scores.npz'",
        f"python tools/report.py '{root}'"]
    assert view.facts['GPU 0'] == 'NVIDIA H200'
    assert {'cosam_mm', 'torch', 'mmengine', 'numpy'} <= set(view.facts)
    # A shipped config is named where it is.
    (root / 'run' / 'net.py').rename(root / 'run' / 'resnext14_cosam_bert_demo.py')
    assert 'tools/train.py configs/resnext14_cosam_bert_demo.py ' in sections_of(
        root)['Reproduce'].all('code')[0]


def test_summary_of_reid(tmp_path):
    write_features(tmp_path / 'features.npz')
    log = tmp_path / 'test' / TESTED / f'{TESTED}.json'
    log.parent.mkdir(parents=True)
    log.write_text(json.dumps({
        'reid/mAP': .5, 'reid/R1': .25, 'reid/rerank_mAP': .75,
        'reid/num_queries': 180., 'reid/num_unreadable': 0.,
        'reid/protocol': 'gallery without queries',
        'reid/split': '', 'reid/dataset': 'mars'}))
    report = build_report(tmp_path, **QUIET, title='Mine')
    assert report.title == 'Mine'
    assert list(report.headline) == [
        ('mAP', '50.0 %'), ('R1', '25.0 %'), ('mAP, re-ranked', '75.0 %')]
    assert sections_of(tmp_path)['Summary'].facts == {
        'Task': 'Person re-identification', 'Metrics': 'mAP 50.0 %, R1 25.0 %',
        'Re-ranked': 'mAP 75.0 %', 'Counts': 'Queries: 180',
        'Protocol': 'gallery without queries'}


def test_metrics_are_of_all_splits_then_of_tests_then_of_validations(root):
    splits = {'acc/top1': dict(splits=[.5, .75], mean=.625)}
    (root / 'all_splits.json').write_text(json.dumps(splits))
    assert build_report(root, **QUIET).headline == [
        ('Top-1 accuracy, mean of the splits', '62.5 %')]
    (root / 'all_splits.json').write_text('{"acc/top1": {}}')  # none of ours
    assert build_report(root, **QUIET).headline[0] == ('Top-1 accuracy', '75.0 %')
    assert build_report(root / 'run', **QUIET).headline == [
        ('Top-1 accuracy in validation', '25.0 %')]
    why, how = sections_of(root / 'run')['Summary'].missing['metrics of a test']
    assert 'No test' in why
    assert how.startswith('python tools/test.py')


@pytest.mark.parametrize(('model', 'steps', 'facts'), [
    (dict(type='X'), [], dict(Model='X', COSAM='none')),
    (dict(type='X', backbone=dict(type='PluggedBackbone', plugins=[
        dict(cfg=dict(type='COSAM'), after='blocks_1.mlp'),
        dict(cfg=dict(type='NonLocal3d'), after='layer4')],
        backbone=dict(type='TimmModel', depth=50))),
     [dict(type='SampleFrames', clip_len=8, num_clips=3)],
     {'Model': 'X: TimmModel-50', 'COSAM': 'after blocks_1.mlp',
      'Clips in testing': '3 \N{MULTIPLICATION SIGN} 8 frames'}),
    (dict(type='VideoReID', neck=dict(type='NaiveCOSAM', with_spatial=False)),
     [dict(type='SampleTrackletFrames', mode='all_clips', num_frames=4)],
     {'COSAM': 'in the model, without spatial mask',
      'Clips in testing': 'all clips: 4 frames'}),
])
def test_models_in_words(tmp_path, model, steps, facts):
    (tmp_path / 'net.py').write_text(
        f'model = {model!r}\ntest_dataloader = '
        f'{dict(dataset=dict(query=dict(pipeline=steps)))!r}\n')
    report = sections_of(tmp_path)
    assert facts.items() <= report['Summary'].facts.items()
    assert {'the checkpoint', 'metrics of a test'} <= set(report['Summary'].missing)
    ((why, _),) = report['Training'].missing.values()
    assert 'scalars.json' in why


# -- the whole report ------------------------------------------------------------------


def test_sections_are_those_that_apply(root, tmp_path):
    assert list(sections_of(root, with_masks=True)) == [
        'Summary', 'Training', 'Action recognition', 'Masks', 'Reproduce']
    write_features(tmp_path / 'reid' / 'features.npz')
    assert list(sections_of(tmp_path / 'reid')) == [
        'Summary', 'Training', 'Person re-identification', 'Reproduce']


def test_report_is_written_in_utf_8_and_leaves_nothing_beside(tmp_path):
    path = tmp_path / 'new' / 'report.html'
    for name in ('naïve \udcff', 'other'):
        assert write_report(simple(page.text(name)), path) == path.stat().st_size
        assert list(path.parent.iterdir()) == [path]
        assert name.replace('\udcff', '?') in path.read_text(encoding='utf-8')


# -- training --------------------------------------------------------------------------


def test_training_has_facts_curves_and_a_table(tmp_path):
    write_log(tmp_path / 'run', '20260101_000000', epochs(1, 3))
    write_log(tmp_path / 'run', '20260102_000000', epochs(3, 4, loss=0.25))
    view, name = sections_of(tmp_path)['Training'], f'{tmp_path.name}/run'
    assert view.facts == {
        'training': name, 'epochs': '4', 'iterations': '40',
        'time in iterations': '0 min 20 s', 'resumed': 'once',
        'last training loss': '0.250', 'best acc/top1': '0.0400, epoch 4'}
    assert list(view.images) == ['Training loss', 'Validation', 'Learning rate',
                                 'Time of an iteration, s']
    assert view.images['Validation'][0].endswith('over epochs: acc/top1: 4.0 % at 4')
    assert view.tables == {f'Validations of {name}': [
        ['1', '0.0100'], ['2', '0.0200'], ['3', '0.0300'], ['4', '0.0400']]}
    assert view.missing == {}


def test_trainings_of_several_splits_and_one_by_iterations(tmp_path):
    for k in (1, 2):
        write_log(tmp_path / f'split{k}', '20260101_000000', epochs(1, k))
    view = sections_of(tmp_path)['Training']
    assert len(view.tables) == 2
    assert 'split2: 2.0 % at 2' in str(view.images)
    root = tmp_path / 'other'
    write_log(root, '20260101_000000', [train_line(None, 2000), val_line(2000, 0.5)])
    view = sections_of(root)['Training']
    assert 'epochs' not in view.facts
    assert view.facts['best acc/top1'] == '0.5000, iteration 2,000'
    assert list(view.tables.values()) == [[['2000', '0.5000']]]


def test_damaged_logs_are_named_and_the_rest_is_shown(tmp_path):
    write_log(tmp_path / 'good', '20260101_000000',
              [*epochs(1, 2), *['?'] * 9, '{"step'], end='')
    write_log(tmp_path / 'bad', '20260101_000000', ['nothing'])
    view = sections_of(tmp_path)['Training']
    assert len(view.images) == 4
    found = {what.rsplit('/', 1)[-1]: why for what, (why, _) in view.missing.items()}
    assert set(found) == {'good', 'bad'}
    assert 'line 9' in found['good']
    assert '5 more' in found['good']
    assert 'line 1' in found['bad']


@pytest.mark.parametrize('line', [
    train_line(1, 10), '{"$<b>": 1, "iter": 1, "epoch": 1, "step": 1}'])
def test_sparse_logs_have_facts(tmp_path, line):
    write_log(tmp_path, '20260101_000000', [line])
    assert sections_of(tmp_path)['Training'].facts

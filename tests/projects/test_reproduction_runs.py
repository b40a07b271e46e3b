"""``python -m projects.reproduction`` from an empty folder to a printed table.

The commands that train and test are stand-ins but for one run: what is tested is what
they are called with, and what becomes of the files that they write.
"""
import json
import os
import runpy
import signal
import sys
import time
from pathlib import Path

import pytest

from projects.attention_study import evaluate_masks
from projects.reproduction import experiment
from projects.reproduction.__main__ import main
from projects.reproduction.experiment import Experiment, experiment_config
from projects.reproduction.record import load_record
from projects.reproduction.running import prepare_run

REPO = Path(__file__).resolve().parents[2]
TABLE = """
title: Small models
source: none
metrics: [mAP]
baseline: plain
rows:
- {label: plain, demo: plain}
- {label: COSAM, demo: cosam}
"""
SYNTHETIC = """
runs:
  plain:
    task: reid
    config: configs/small.py
    synthetic: {kind: reid}
    options: {train_cfg.max_epochs: 1}
  cosam: {like: plain, options: {test_evaluator.distance: cosine}}
  masks: {like: cosam, task: masks, training: cosam}
  later: {like: cosam, start: plain}
  hard: {like: cosam, training: cosam, synthetic: {test: {clutter: 1.0}}}
"""
CONFIG = """
train_cfg = dict(max_epochs=9)
test_evaluator = dict(type='ReIDMetric')
"""
# Stand-ins for train.py, test.py and evaluate_masks.
TRAIN = '''
import pathlib, signal, sys, time
if '--fail' in open(sys.argv[1]).read():
    sys.exit('no good')
folder = pathlib.Path(sys.argv[sys.argv.index('--work-dir') + 1])
folder.mkdir(parents=True, exist_ok=True)
if (folder / 'wait').exists():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    (folder / 'waits').touch()
    time.sleep(60)
(folder / 'epoch_1.pth').touch()
(folder / 'last_checkpoint').write_text(str(folder / 'epoch_1.pth'))
'''
TEST = '''
import json, pathlib, sys
import numpy as np
def after(name):
    return pathlib.Path(sys.argv[sys.argv.index(name) + 1])
folder = after('--work-dir') / 'time'
folder.mkdir(parents=True)
(folder / 'time.json').write_text(json.dumps(
    {'reid/mAP': .75, 'reid/num_queries': 2, 'time': 3., 'reid/dataset': 'x'}))
np.savez(after('--dump'), feature=np.array([[0, 1], [1, 0], [0, 1], [1, .9]], 'f'),
         pid=[1, 2, 1, 2], camid=[1, 1, 2, 2], tracklet_id=list('abcd'),
         subset=['query'] * 2 + ['gallery'] * 2)
'''
MASKS = '''
import json, sys
row = dict(map='cosam', place='layer4', auc_mean=.6, share_iou_mean=.3,
           coarse_silhouette_auc=.9)
open(sys.argv[sys.argv.index('--out') + 1], 'w').write(json.dumps(
    dict(states=[dict(epoch=0, rows=[row])])))
'''


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A checkout with one table, its own results, and stand-ins for the tools."""
    root = tmp_path / 'checkout'
    for path, text in {
            'tools/train.py': TRAIN, 'tools/test.py': TEST, 'configs/small.py': CONFIG,
            'projects/__init__.py': '', 'projects/attention_study/__init__.py': '',
            'projects/attention_study/evaluate_masks.py': MASKS,
            'projects/reproduction/tables/small.yml': TABLE,
            'projects/reproduction/tables/synthetic.yml': SYNTHETIC}.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    monkeypatch.setattr(experiment, 'generate_reid_dataset', lambda folder, **_: folder)
    monkeypatch.chdir(tmp_path)
    handlers = {number: signal.getsignal(number)
                for number in (signal.SIGTERM, signal.SIGHUP)}
    yield root
    for number, handler in handlers.items():
        signal.signal(number, handler)


def check_arguments(commands, monkeypatch):
    """The tools take them."""
    for command in commands:
        if command[0] == '-m':
            args = evaluate_masks.parse_args(command[2:])
            assert args.untrained
        else:
            tool = runpy.run_path(str(REPO / command[0]))
            monkeypatch.setattr(sys, 'argv', command)
            args = tool['parse_args']()
        assert Path(args.data_root).parent.name == 'synthetic'


def run(root, *arguments):
    """Exit status of the command."""
    with pytest.raises(SystemExit) as ended:
        main(['--data', 'demo', *arguments], root)
    return ended.value.code


def record_of(root, name):
    return load_record(root / f'projects/reproduction/results/demo/{name}.json')


def calls(folder):
    """The commands of a run."""
    return [line.split()[2:] for line in (folder / 'log.txt').read_text().splitlines()
            if line.startswith('$ ')]


def test_from_nothing_to_a_table(root, tmp_path, capsys):
    assert run(root) == 0
    assert 'Small models (none)' in capsys.readouterr().out
    run(root, '--table', 'small', '--list', '--print')
    text = capsys.readouterr().out
    assert 'plain  (not run)' in text
    assert '--only cosam --seeds 5 --run' in text
    assert text.count('not run') >= 4

    assert run(root, '--table', 'small', '--run', '--seeds', '2', '--max-parallel', '2',
               '--print', '--page') == 0
    text = capsys.readouterr().out
    assert '75.0 ± 0.0' in text
    record = record_of(root, 'plain')
    assert sorted(record.seeds) == [0, 1]
    assert record.seeds[0].metrics == dict(mAP=75, num_queries=2)
    assert record.seeds[0].items == dict(AP=[1, 1])
    assert record.options == {'train_cfg.max_epochs': 1}
    assert '75.0' in (root / 'projects/reproduction/results.md').read_text()
    folder = tmp_path / 'work_dirs/reproduce/demo/plain/seed1'
    train, test = calls(folder)
    assert train[:2] == ['tools/train.py', str(folder / 'config.py')]
    assert train[train.index('--seed') + 1] == '1'
    assert '--resume' in train
    assert test[2] == str(folder / 'train/epoch_1.pth')
    assert 'max_epochs=1' in (folder / 'config.py').read_text()

    assert run(root, '--table', 'small', '--run', '--seeds', '2') == 0
    assert 'nothing to run' in capsys.readouterr().out
    assert len(calls(folder)) == 2
    # A run that is done is not repeated where the record is lost.
    (root / 'projects/reproduction/results/demo/plain.json').unlink()
    assert run(root, '--only', 'plain', '--run', '--seeds', '2', '--max-parallel', '2'
               ) == 0
    assert len(calls(folder)) == 2


def test_tests_of_one_training(root, tmp_path, monkeypatch):
    assert run(root, '--only', 'cosam', 'masks', 'hard', '--run', '--seeds', '1',
               '--max-parallel', '3') == 0
    assert record_of(root, 'masks').seeds[0].metrics == dict(
        cosam_layer4_AUC_0=60, cosam_layer4_IoU=30, cosam_layer4_AUC_limit=90)
    assert record_of(root, 'hard').synthetic == dict(kind='reid', test=dict(clutter=1))
    folder = tmp_path / 'work_dirs/reproduce/demo/cosam/seed0'
    data = {Path(words[words.index('--data-root') + 1]).name: words[0]
            for words in calls(folder)}
    assert data['reid_clutter1'] == 'tools/test.py'
    masks, = (words for words in calls(folder) if words[0] == '-m')
    assert masks[1] == 'projects.attention_study.evaluate_masks'
    assert '--untrained' in masks
    assert str(folder / 'train/epoch_1.pth') in masks
    check_arguments(calls(folder), monkeypatch)


def test_a_training_begins_with_the_weights_of_another(root, tmp_path, monkeypatch):
    assert run(root, '--only', 'later', '--run', '--seeds', '1') == 0
    work = tmp_path / 'work_dirs/reproduce/demo'
    first = work / 'plain/seed0/train/epoch_1.pth'
    train = calls(work / 'later/seed0')[0]
    assert train[-2:] == ['--cfg-options', f'load_from={first}']
    assert record_of(root, 'later').start == 'plain'
    check_arguments(calls(work / 'later/seed0'), monkeypatch)
    # What it starts with has no record until it is asked for.
    records = root / 'projects/reproduction/results/demo'
    assert [file.name for file in records.iterdir()] == ['later.json']
    assert run(root, '--only', 'plain', '--run', '--seeds', '1') == 0
    assert len(calls(work / 'plain/seed0')) == 2


def test_stopped_and_resumed(root, tmp_path, capsys):
    train = tmp_path / 'work_dirs/reproduce/demo/plain/seed0/train'
    arguments = ('--only', 'plain', '--run', '--seeds', '1', '--max-parallel', '1')
    tools = root / 'tools/train.py'
    tools.write_text(TRAIN.replace("(folder / 'wait').exists()", 'True'))
    child = os.fork()
    if child == 0:
        while not (train / 'waits').exists():
            time.sleep(0.05)
        os.kill(os.getppid(), signal.SIGTERM)
        os._exit(0)
    assert run(root, *arguments) == 130
    os.waitpid(child, 0)
    assert 'the same command resumes' in capsys.readouterr().err
    assert not (root / 'projects/reproduction/results').exists()
    tools.write_text(TRAIN)
    assert run(root, *arguments) == 0
    assert len(calls(train.parent)) == 3
    assert record_of(root, 'plain').seeds


def test_a_failed_run_is_named_and_the_others_are_kept(root, capsys):
    path = root / 'projects/reproduction/tables/synthetic.yml'
    path.write_text(SYNTHETIC.replace('distance: cosine', 'x: --fail'))
    assert run(root, '--table', 'small', '--run', '--seeds', '1') == 1
    error = capsys.readouterr().err
    assert 'error: cosam, seed 0: python tools/train.py' in error
    assert 'no good' in error
    assert record_of(root, 'plain').seeds


def test_results_of_other_settings_are_not_mixed(root, capsys):
    assert run(root, '--only', 'plain', '--run', '--seeds', '1') == 0
    file = root / 'projects/reproduction/results/demo/plain.json'
    content = json.loads(file.read_text())
    file.write_text(json.dumps(dict(content, options={})))
    assert run(root, '--only', 'plain', '--run', '--seeds', '2') == 2
    assert 'other settings' in capsys.readouterr().err
    file.write_text(json.dumps(dict(content, versions={})))
    assert run(root, '--only', 'plain', '--run', '--seeds', '2') == 2
    assert '--records' in capsys.readouterr().err


def test_a_training_of_other_settings_is_moved_aside(tmp_path):
    def prepared(threads, **options):
        one = Experiment('a', 'reid', 'configs/reid/resnet14_tp_demo.py', options,
                         dict(kind='reid'), training='a')
        config = experiment_config(one, REPO).pretty_text
        return prepare_run(one, 0, config, tmp_path, None, None, threads)

    first = prepared(1)
    kept = first.folder / 'train' / 'epoch_1.pth'
    kept.parent.mkdir()
    kept.touch()
    assert prepared(1) == first
    assert kept.is_file()
    assert prepared(2).fingerprint != first.fingerprint
    assert not kept.exists()
    assert (tmp_path / 'demo/a/seed0.1/train' / kept.name).is_file()
    changed = prepared(2, **{'train_cfg.max_epochs': 3})
    assert 'max_epochs=3' in (changed.folder / 'config.py').read_text()


def test_costs_of_a_model_of_the_paper(tmp_path):
    """The one row that needs no data: parameters and multiply-adds, counted here."""
    name = 'resnet50_cosam45_tp_mars+cfg-options+model.head.num_pids=150'
    with pytest.raises(SystemExit) as ended:
        main(['--table', 'nonlocal', '--only', name, '--run', '--records',
              str(tmp_path / 'records'), '--work-dir', str(tmp_path / 'work')])
    assert ended.value.code == 0
    record = load_record(tmp_path / 'records/paper' / f'{name}.json')
    shipped = load_record(REPO / 'projects/reproduction/results/paper' / f'{name}.json')
    assert record.seeds[0].metrics == shipped.seeds[0].metrics


@pytest.mark.parametrize(('arguments', 'word'), [
    (('--table', 'iccv9', '--list'), 'iccv9'),
    (('--only', 'nobody', '--run'), 'nobody'),
    (('--seeds', '0'), '--seeds'), (('--max-parallel', '0'), '--max-parallel')])
def test_a_mistake_is_one_line(root, capsys, arguments, word):
    assert run(root, *arguments) == 2
    assert word in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.slow
def test_real_commands(tmp_path, monkeypatch):
    """A small model, trained and tested by the tools themselves."""
    from cosam_mm.datasets.synthetic.reid_dataset_files import generate_reid_dataset
    root = tmp_path / 'checkout'
    (root / 'projects').mkdir(parents=True)
    for name in ('configs', 'tools', 'cosam_mm'):
        (root / name).symlink_to(REPO / name)
    tables = root / 'projects/reproduction/tables'
    tables.mkdir(parents=True)
    small = dict(zip(('model.backbone.base_channels', 'train_dataloader.batch_size',
                      'train_dataloader.sampler.num_pids_per_batch',
                      'train_dataloader.sampler.num_tracklets_per_pid'), (8, 4, 2, 2)))
    options = {'train_cfg.max_epochs': 1, 'train_cfg.val_interval': 9, **small,
               'param_scheduler.0.total_steps': 1, 'custom_hooks': [],
               'train_dataloader.num_workers': 0, 'test_dataloader.num_workers': 0,
               'train_dataloader.persistent_workers': False,
               'test_dataloader.persistent_workers': False}
    (tables / 'synthetic.yml').write_text(json.dumps(dict(runs=dict(plain=dict(
        task='reid', config='configs/reid/resnet14_tp_demo.py', options=options,
        synthetic=dict(kind='reid'))))))
    monkeypatch.setattr(
        experiment, 'generate_reid_dataset',
        lambda folder, **_: generate_reid_dataset(folder, 4, 3, progress=False,
                                                  num_distractors=2, num_junk=1))
    monkeypatch.chdir(tmp_path)
    assert run(root, '--only', 'plain', '--run', '--seeds', '1') == 0
    result = record_of(root, 'plain').seeds[0]
    used = [value for value in result.items['AP'] if value is not None]
    assert result.metrics['mAP'] == pytest.approx(100 * sum(used) / len(used), abs=.01)

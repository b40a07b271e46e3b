"""``tools/reproduce.py`` from an empty folder to a printed table, with small models."""
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import decord
import pytest
import torch

from cosam_mm.datasets.action_dataset import ActionVideoDataset
from projects.reproduction import reproduction as module
from projects.reproduction.experiment import Experiment, experiment_config
from projects.reproduction.record import load_record
from projects.reproduction.reproduction import Reproduction, draw_data
from projects.reproduction.running import prepare_run

REPO = Path(__file__).resolve().parents[2]
TABLE = """
name: small
title: Small models
source: none
task: {task}
metrics: [{metric}]
baseline: plain
rows:
- {{label: plain, demo: plain}}
- {{label: COSAM, demo: cosam}}
"""
DRAWN = """
runs:
  plain:
    task: reid
    config: configs/reid/resnet14_tp_demo.py
    draw: {{kind: reid}}
    options:
      model.backbone.base_channels: 8
      train_cfg.max_epochs: {epochs}
      train_cfg.val_interval: 1000
      param_scheduler.0.total_steps: {epochs}
      train_dataloader.batch_size: 4
      train_dataloader.sampler.num_pids_per_batch: 2
      train_dataloader.sampler.num_tracklets_per_pid: 2
      train_dataloader.num_workers: 0
      train_dataloader.persistent_workers: false
      test_dataloader.num_workers: 0
      test_dataloader.persistent_workers: false
      default_hooks.checkpoint.interval: 1
      custom_hooks: []
  cosam:
    like: plain
    options:
      test_evaluator.distance: cosine
      model.backbone.plugins:
      - cfg: {{type: COSAM, num_frames: 4, spatial_size: [4, 2]}}
        position: after_layer4
  masks: {{like: cosam, task: masks, training: cosam}}
  later: {{like: cosam, start: plain}}
  hard: {{like: cosam, training: cosam, draw: {{test: {{clutter: 1.0}}}}}}
"""


@pytest.fixture(scope='module')
def persons(tmp_path_factory):
    """A small drawn set where the tool looks for one."""
    folder = tmp_path_factory.mktemp('work')
    module.generate_reid_dataset(folder / 'drawn' / 'reid', 4, 3, progress=False,
                                 num_distractors=2, num_junk=1)
    return folder


def checkout(folder, epochs=1):
    """A checkout with one table, its own results, and this one's code."""
    for name in ('configs', 'tools'):
        (folder / name).mkdir(parents=True)
        for path in (REPO / name).iterdir():
            if path.name not in ('tables', '__pycache__'):
                (folder / name / path.name).symlink_to(path)
    (folder / 'tools' / 'reproduce.py').unlink()
    (folder / 'tools' / 'reproduce.py').write_bytes(
        (REPO / 'tools' / 'reproduce.py').read_bytes())
    tables = folder / 'configs' / 'tables'
    tables.mkdir()
    (tables / 'small.yml').write_text(TABLE.format(task='reid', metric='mAP'))
    (tables / 'drawn.yml').write_text(DRAWN.format(epochs=epochs))
    (folder / 'docs').mkdir()
    return folder


def command(root, persons, *arguments):
    # The set on disk is smaller than the one that would be drawn: see small_set.py.
    return [sys.executable, str(root / 'small_set.py'), '--data', 'demo',
            '--work-dir', str(persons), *arguments]


def small_set(root):
    """The tool, taking the small set for the one of the experiment."""
    (root / 'small_set.py').write_text(f"""
import runpy
from projects.reproduction import reproduction
reproduction.generate_reid_dataset = lambda folder, **_: folder
if __name__ == '__main__':
    runpy.run_path({str(root / 'tools' / 'reproduce.py')!r}, run_name='__main__')
""")


@pytest.fixture(scope='module')
def run(nest):

    def run(root, persons, *arguments):
        _, tool, *rest = command(root, persons, *arguments)
        return nest.run(tool, *rest, cwd=root)

    return run


def test_from_nothing_to_a_table(tmp_path, persons, run):
    root = checkout(tmp_path / 'checkout')
    small_set(root)
    listed = run(root, persons, '--table', 'small', '--list')
    assert 'plain  (not run)' in listed.stdout, listed.stderr
    assert '--only cosam --seeds 5 --run' in listed.stdout
    printed = run(root, persons, '--table', 'small', '--print').stdout
    assert printed.count('not run') >= 2

    done = run(root, persons, '--table', 'small', '--run', '--seeds', '2',
               '--max-parallel', '2', '--print', '--page')
    assert done.returncode == 0, done.stderr
    records = {name: load_record(root / 'docs/results/demo' / f'{name}.json')
               for name in ('plain', 'cosam')}
    assert sorted(records['plain'].seeds) == [0, 1]
    for record in records.values():
        for result in record.seeds.values():
            rated = [value for value in result.items['AP'] if value is not None]
            assert result.metrics['mAP'] == pytest.approx(
                100 * sum(rated) / len(rated), abs=0.01)
    assert records['cosam'].options['model.backbone.plugins'][0]['position'] \
        == 'after_layer4'
    assert f'{records["plain"].values("mAP").mean():.1f}' in done.stdout
    assert 'Small models' in (root / 'docs/results.md').read_text()

    again = run(root, persons, '--table', 'small', '--run', '--seeds', '2')
    assert 'nothing to run' in again.stdout

    # two other tests of what was trained above
    trained = persons / 'demo' / 'cosam' / 'seed0' / 'train' / 'epoch_1.pth'
    written = trained.stat().st_mtime_ns
    (persons / 'drawn' / 'reid_clutter1').symlink_to('reid')
    done = run(root, persons, '--only', 'masks', 'hard', '--run', '--seeds', '1')
    assert done.returncode == 0, done.stderr
    record = load_record(root / 'docs/results/demo/masks.json')
    assert record.task == 'masks'
    found = json.loads((persons / 'demo/cosam/seed0/masks.masks').read_text())
    assert [state['epoch'] for state in found['states']] == [0, 1]
    (auc,) = [row['auc_mean'] for row in found['states'][1]['rows']
              if row['map'] == 'cosam']
    assert record.seeds[0].metrics['cosam_layer4_AUC_1'] == pytest.approx(
        100 * auc, abs=1e-4)
    hard = load_record(root / 'docs/results/demo/hard.json')
    assert hard.draw == dict(kind='reid', test=dict(clutter=1.0))
    assert hard.seeds[0].metrics == records['cosam'].seeds[0].metrics  # the same set
    calls = re.findall(r'^\$ python \S+/(\w+\.py) .*?--data-root (\S+)',
                       (persons / 'demo/cosam/seed0/log.txt').read_text(), re.MULTILINE)
    assert ('test.py', str(persons / 'drawn/reid_clutter1')) in calls
    assert ('train.py', str(persons / 'drawn/reid_clutter1')) not in calls
    assert trained.stat().st_mtime_ns == written


def test_a_training_begins_with_the_weights_of_another(tmp_path, persons, run):
    root = checkout(tmp_path / 'checkout')
    small_set(root)
    work = tmp_path / 'work'
    (work / 'drawn').mkdir(parents=True)
    (work / 'drawn' / 'reid').symlink_to(persons / 'drawn' / 'reid')
    path = root / 'configs' / 'tables' / 'drawn.yml'
    path.write_text(path.read_text().replace(  # a rate at which nothing is learned
        'start: plain', 'start: plain, options: {optim_wrapper.optimizer.lr: 0.0, '
        'param_scheduler.0.eta_max: 0.0}'))
    done = run(root, work, '--only', 'later', '--run', '--seeds', '1')
    assert done.returncode == 0, done.stderr
    # what it starts with was made on the way, and is on record when asked for
    records = root / 'docs/results/demo'
    assert [file.name for file in records.iterdir()] == ['later.json']
    assert load_record(records / 'later.json').start == 'plain'
    first, then = (torch.load(work / 'demo' / name / 'seed0/train/epoch_1.pth',
                              weights_only=False)['state_dict']
                   for name in ('plain', 'later'))
    assert len(then) > len(first)
    for key, value in first.items():
        if 'running_' not in key and 'num_batches' not in key:
            assert torch.equal(value, then[key]), key
    made = (work / 'demo/plain/seed0/plain.json').stat().st_mtime_ns
    done = run(root, work, '--only', 'plain', '--run', '--seeds', '1')
    assert done.returncode == 0, done.stderr
    assert (work / 'demo/plain/seed0/plain.json').stat().st_mtime_ns == made
    assert load_record(records / 'plain.json').start == ''


def test_stopped_and_gone_on(tmp_path, persons, run):
    root = checkout(tmp_path / 'checkout', epochs=5)
    small_set(root)
    work = tmp_path / 'work'
    (work / 'drawn').mkdir(parents=True)
    (work / 'drawn' / 'reid').symlink_to(persons / 'drawn' / 'reid')
    env = dict(os.environ, PYTHONPATH=str(REPO), OMP_NUM_THREADS='1')
    arguments = ('--only', 'plain', '--run', '--seeds', '1', '--max-parallel', '1')
    process = subprocess.Popen(command(root, work, *arguments), env=env, cwd=root,
                               stderr=subprocess.PIPE, text=True)
    folder = work / 'demo' / 'plain' / 'seed0' / 'train'
    end = time.monotonic() + 120
    while not (folder / 'epoch_2.pth').is_file():
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert 'the same command goes on' in said
    assert not (root / 'docs/results').exists()
    done = run(root, work, *arguments)
    assert done.returncode == 0, done.stderr
    log = (work / 'demo' / 'plain' / 'seed0' / 'log.txt').read_text()
    assert 'resumed' in log.lower()
    assert (root / 'docs/results/demo/plain.json').is_file()


def test_a_failed_run_is_named_and_the_others_are_kept(tmp_path, persons, run):
    root = checkout(tmp_path / 'checkout')
    small_set(root)
    path = root / 'configs' / 'tables' / 'drawn.yml'
    path.write_text(path.read_text().replace(
        'position: after_layer4', 'position: after_layer9'))
    done = run(root, persons, '--table', 'small', '--run', '--seeds', '1')
    assert done.returncode == 1
    assert 'error: cosam, seed 0: train.py ended with status' in done.stderr
    assert (root / 'docs/results/demo/plain.json').is_file()


def test_results_of_other_settings_are_not_mixed(tmp_path, persons, run):
    root = checkout(tmp_path / 'checkout')
    small_set(root)
    assert run(root, persons, '--only', 'plain', '--run', '--seeds', '1'
               ).returncode == 0
    file = root / 'docs/results/demo/plain.json'
    content = json.loads(file.read_text())
    content['options']['train_cfg.max_epochs'] = 9
    file.write_text(json.dumps(content))
    done = run(root, persons, '--only', 'plain', '--run', '--seeds', '2')
    assert done.returncode == 2
    assert 'holds results of other settings' in done.stderr


def test_a_training_of_other_settings_is_not_gone_on_with(tmp_path):
    def prepared(threads, **options):
        experiment = Experiment(
            'a', 'reid', 'configs/reid/resnet14_tp_demo.py', options,
            dict(kind='reid'), training='a')
        config = experiment_config(experiment, REPO).pretty_text
        return prepare_run(experiment, 0, config, tmp_path, None, None, threads)

    run_ = prepared(1)
    kept = run_.folder / 'train' / 'epoch_1.pth'
    kept.parent.mkdir()
    kept.touch()
    assert prepared(1) == run_
    assert kept.is_file()
    assert prepared(2).fingerprint != run_.fingerprint
    assert not kept.exists()
    assert (tmp_path / 'demo' / 'a' / 'seed0.1' / 'train' / kept.name).is_file()
    changed = prepared(2, **{'train_cfg.max_epochs': 3})
    assert 'max_epochs=3' in (changed.folder / 'config.py').read_text()


@pytest.mark.parametrize(('arguments', 'message'), [
    (('--table', 'iccv9', '--list'), "There is no table 'iccv9'; there are"),
    (('--only', 'nobody', '--run'), "There is no experiment 'nobody' on the demo data"),
    (('--seeds', '0'), '--seeds must be at least 1, got 0'),
])
def test_a_mistake_is_one_line(nest, arguments, message):
    done = nest.run('tools/reproduce.py', '--data', 'demo', *arguments, cwd=REPO)
    assert done.returncode == 2
    assert message in done.stderr
    assert 'Traceback' not in done.stderr


def test_drawn_data_of_a_difficulty(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(module, 'generate_reid_dataset',
                        lambda folder, **rest: seen.append((folder.name, rest)))
    draw_data(dict(kind='reid', clutter=0.0), tmp_path)
    name, rest = seen[0]
    assert name == 'reid_clutter0'
    assert (rest['difficulty'].clutter, rest['difficulty'].occlusion) == (0.0, 0.35)
    with pytest.raises(ValueError, match="needs a kind of 'reid' or 'action'"):
        draw_data({}, tmp_path)
    with pytest.raises(ValueError, match='does not fit'):
        draw_data(dict(kind='action', fog=1.0), tmp_path)


def test_drawn_clips_are_ready_for_training(tmp_path):
    folder = draw_data(dict(kind='action', size=[64, 48], clutter=1, clips_per_class=3),
                       tmp_path)
    assert folder.name == 'action_clips_per_class3_clutter1_size64x48'
    dataset = ActionVideoDataset(str(folder), 'demo', [], num_classes=8)
    assert len(dataset) > 8
    video = decord.VideoReader(dataset[0]['filename'])
    assert video[0].shape == (48, 64, 3)


def test_page_says_what_the_records_say():
    """docs/results.md is written anew by ``tools/reproduce.py --page``."""
    page = (REPO / 'docs' / 'results.md').read_text(encoding='utf-8')
    assert Reproduction(REPO).page() == page

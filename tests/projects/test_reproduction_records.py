"""Records and their differences: files that stay the same, bootstrap against loops."""
import json
from dataclasses import replace
from pathlib import Path

import decord
import numpy as np
import pytest

from cosam_mm.datasets.action_dataset import ActionVideoDataset
from projects.reproduction import bootstrap, experiment
from projects.reproduction.bootstrap import paired_difference
from projects.reproduction.experiment import (
    Experiment,
    experiment_config,
    generate_data,
    paper_experiment,
)
from projects.reproduction.record import Record, SeedResult, load_record, save_record
from projects.reproduction.table import Row

REPO = Path(__file__).resolve().parents[2]
RECORD = Record(
    run='r', data='demo', task='reid', config='c.py', options={'a.b': [1, 2]},
    synthetic=dict(kind='reid'), start='', command='x', versions=dict(torch='2'),
    seeds={10: SeedResult(dict(mAP=50.), dict(AP=[.25, None, 1]), 60.56),
           2: SeedResult(dict(mAP=1 / 3), dict(AP=[.123456, None, 0.]))})


def test_record_file(tmp_path):
    path = tmp_path / 'new' / 'r.json'
    save_record(RECORD, path)
    text = path.read_text()
    lines = [line.strip() for line in text.splitlines()]
    assert lines.index('"2": {') < lines.index('"10": {')
    assert '"AP": [0.1235, null, 0]' in lines
    assert '"mAP": 0.3333' in lines
    read = load_record(path)
    assert read.seeds[10] == SeedResult(dict(mAP=50), dict(AP=[.25, None, 1]), 60.6)
    assert (read.options, read.synthetic) == (RECORD.options, RECORD.synthetic)
    save_record(read, path)
    assert path.read_text() == text
    assert read.values('mAP').tolist() == [.3333, 50]
    np.testing.assert_array_equal(read.item_scores('AP', [10]), [[.25, np.nan, 1]])
    assert read.item_scores('correct', [10]) is None
    assert read.seconds == 60.6


def test_record_with_the_names_before_0_2(tmp_path):
    path = tmp_path / 'r.json'
    save_record(RECORD, path)
    path.write_text(path.read_text().replace('"synthetic"', '"draw"'))
    assert load_record(path).synthetic == dict(kind='reid')


@pytest.mark.parametrize('change', [
    dict(run='other'), dict(data='own'), dict(seeds={}), dict(colour=1),
    dict(seeds={'a': {}}), dict(seeds={'0': dict(metrics={}, wrong=1)}), dict(seeds=3),
    dict(seeds={'0': dict(metrics=dict(a=1)), '1': dict(metrics=dict(b=1))})])
def test_file_that_is_no_record(tmp_path, change):
    path = tmp_path / 'r.json'
    save_record(RECORD, path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ValueError, match=r'r\.json is no record'):
        load_record(path)
    path.write_text('{')
    with pytest.raises(ValueError, match=r'r\.json is no record'):
        load_record(path)
    with pytest.raises(ValueError, match='run'):
        save_record(replace(RECORD, run='s'), path)
    with pytest.raises(FileNotFoundError, match='none'):
        load_record(tmp_path / 'none.json')


# -- experiments ------------------------------------------------------------------


def test_experiment_of_a_config():
    row = Row('a', 'resnet50_tp_ilids', test=('--all-splits', '--rerank'))
    found = paper_experiment(row, 'reid', REPO)
    assert found.config == 'configs/reid/resnet50_tp_ilids.py'
    assert (found.splits, found.test) == (tuple(range(1, 11)), ('--rerank',))
    assert (found.data, found.train_data, found.test_data) == ('paper', None, None)
    row = Row('a', 'resnet50_tp_mars', test=('--cfg-options', 'model.head.num_pids=9'))
    found = paper_experiment(row, 'cost', REPO)
    assert experiment_config(found, REPO).model.head.num_pids == 9
    with pytest.raises(FileNotFoundError, match='resnet9'):
        paper_experiment(Row('a', 'resnet9'), 'reid', REPO)
    with pytest.raises(FileNotFoundError, match=r'no\.py'):
        experiment_config(Experiment('a', 'reid', 'no.py'), REPO)
    wrong = replace(found, options={'train_pipeline.99.a': 1})
    with pytest.raises(ValueError, match='do not fit'):
        experiment_config(wrong, REPO)


def test_synthetic_persons_of_a_difficulty(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(experiment, 'generate_reid_dataset',
                        lambda folder, **rest: calls.append((folder.name, rest)))
    generate_data(dict(kind='reid', clutter=0.0), tmp_path)
    name, rest = calls[0]
    assert name == 'reid_clutter0'
    assert (rest['difficulty'].clutter, rest['difficulty'].occlusion) == (0.0, 0.35)
    with pytest.raises(ValueError, match='kind'):
        generate_data({}, tmp_path)
    with pytest.raises(ValueError, match='fog'):
        generate_data(dict(kind='action', fog=1.0), tmp_path)


def test_synthetic_clips_are_ready_for_training(tmp_path):
    folder = generate_data(
        dict(kind='action', size=[64, 48], clutter=1, clips_per_class=3), tmp_path)
    assert folder.name == 'action_clips_per_class3_clutter1_size64x48'
    dataset = ActionVideoDataset(str(folder), 'demo', [], num_classes=8)
    assert len(dataset) > 8
    assert decord.VideoReader(dataset[0]['filename'])[0].shape == (48, 64, 3)


# -- bootstrap --------------------------------------------------------------------


def resampled(rng, num):
    """Which of ``num`` are taken: what numpy's counts say, written out."""
    counts = rng.multinomial(num, np.full(num, 1 / num))
    return [index for index in range(num) for _ in range(counts[index])]


def naive_difference(ours, theirs, level, num_resamples, seed):
    used = [q for q in range(ours.shape[1]) if not np.isnan(ours[0, q])]
    rng = np.random.default_rng(seed)
    of_seeds = [resampled(rng, len(ours)) for _ in range(num_resamples)]
    means = []
    for chosen in of_seeds:
        items = [used[i] for i in resampled(rng, len(used))]
        means.append(100 * sum(ours[s, q] - theirs[s, q] for s in chosen for q in items)
                     / (len(chosen) * len(items)))
    mean = 100 * np.mean([ours[s, q] - theirs[s, q] for s in range(len(ours))
                          for q in used])
    return mean, *np.quantile(means, [(1 - level) / 2, (1 + level) / 2])


def scores(num_seeds, num_items, seed=0):
    ours, theirs = np.random.default_rng(seed).uniform(size=(2, num_seeds, num_items))
    ours[:, 1::7] = theirs[:, 1::7] = np.nan
    return ours, theirs


@pytest.mark.parametrize(('num_seeds', 'num_items'), [(1, 9), (2, 3), (5, 20)])
@pytest.mark.parametrize('level', [.5, .95])
def test_difference_is_that_of_loops(num_seeds, num_items, level, monkeypatch):
    monkeypatch.setattr(bootstrap, '_BLOCK', 100)  # 5 to 50 resamples at a time
    ours, theirs = scores(num_seeds, num_items)
    options = dict(level=level, num_resamples=103, seed=4)
    np.testing.assert_allclose(paired_difference(ours, theirs, **options),
                               naive_difference(ours, theirs, **options), rtol=1e-9)


@pytest.mark.parametrize(('ours', 'theirs', 'word'), [
    (np.zeros((2, 3)), np.zeros((2, 4)), r'\(2, 4\)'),
    (np.zeros(3), np.zeros(3), 'S, Q'),
    (np.zeros((0, 3)), np.zeros((0, 3)), r'\(0, 3\)'), ([[np.inf]], [[0]], 'evaluated'),
    ([[0, np.nan]], [[0, 0]], 'all seeds'), ([[np.nan] * 2], [[np.nan] * 2], 'Some'),
    ([[0, np.nan], [0, 0]], [[0, np.nan], [0, 0]], 'all seeds')])
def test_scores_that_are_no_pairs(ours, theirs, word):
    with pytest.raises(ValueError, match=word):
        paired_difference(ours, theirs)

"""Experiments by their names, and what their files may not say."""
from pathlib import Path

import pytest
import yaml

from projects.reproduction.experiment import (
    Experiment,
    experiment_config,
    load_drawn,
    paper_experiment,
)
from projects.reproduction.table import Row

REPO = Path(__file__).resolve().parents[2]
RUNS = dict(
    a=dict(task='reid', config='configs/reid/resnet14_tp_demo.py',
           draw=dict(kind='reid'), options={'train_cfg.max_epochs': 3}),
    b=dict(like='a', draw=dict(clutter=1.0), options={'x': 1}, test=['--rerank']))


def drawn(tmp_path, runs):
    path = tmp_path / 'drawn.yml'
    path.write_text(yaml.safe_dump(dict(runs=runs)), encoding='utf-8')
    return load_drawn(path)


def test_what_is_alike_is_inherited(tmp_path):
    found = drawn(tmp_path, RUNS)
    assert found['b'] == Experiment(
        'b', 'reid', RUNS['a']['config'], {'train_cfg.max_epochs': 3, 'x': 1},
        dict(kind='reid', clutter=1.0), ('--rerank',), training='b')
    assert found['a'].options == RUNS['a']['options']
    assert found['a'].data == 'demo'


def test_a_training_may_start_with_the_weights_of_another(tmp_path):
    found = drawn(tmp_path, dict(RUNS, c=dict(like='b', start='a')))
    assert (found['b'].start, found['c'].start) == ('', 'a')


@pytest.mark.parametrize(('runs', 'message'), [
    (dict(a=dict(like='b')), "'a' is like 'b', which is not there"),
    (dict(a=dict(like='b'), b=dict(like='a')), 'a is like b is like a'),
    (dict(a=dict(RUNS['a'], epochs=3)), r"'a' has the unknown keys \['epochs'\]"),
    (dict(a=dict(task='reid')), r"'a' lacks \['config', 'draw'\]"),
    (dict(a=dict(RUNS['a'], task='cost')), "'a' has the task 'cost'; allowed"),
    (dict(RUNS, b=dict(like='a', start='c')), "'b' starts with 'c', which is not th"),
    (dict(RUNS, a=dict(RUNS['a'], start='b')), 'b starts with b'),
    (dict(b=dict(RUNS['a'], start='c'), c=dict(RUNS['a'], start='b')),
     'b starts with c starts with b'),
    ([], "needs a mapping 'runs'"),
])
def test_a_wrong_entry_is_named(tmp_path, runs, message):
    with pytest.raises(ValueError, match=message):
        drawn(tmp_path, runs)


def test_no_list(tmp_path):
    with pytest.raises(FileNotFoundError, match='no list of experiments'):
        load_drawn(tmp_path / 'drawn.yml')


def test_options_change_the_config(tmp_path):
    found = drawn(tmp_path, RUNS)['a']
    cfg = experiment_config(found, REPO)
    assert cfg.train_cfg.max_epochs == 3
    assert found.options == {'train_cfg.max_epochs': 3}


def test_options_that_do_not_fit_are_refused(tmp_path):
    runs = dict(a=dict(RUNS['a'], options={'param_scheduler.7.end': 1}))
    with pytest.raises(ValueError, match="options of experiment 'a' do not fit"):
        experiment_config(drawn(tmp_path, runs)['a'], REPO)


def test_a_config_that_is_gone_is_named(tmp_path):
    runs = dict(a=dict(RUNS['a'], config='configs/none.py'))
    with pytest.raises(FileNotFoundError, match='needs the config configs/none.py'):
        experiment_config(drawn(tmp_path, runs)['a'], REPO)


def test_experiments_of_the_papers_are_configs():
    row = Row('x', 'resnet50_tp_mars', test=('--rerank',))
    found = paper_experiment(row, 'reid', REPO)
    assert found == Experiment(
        'resnet50_tp_mars+rerank', 'reid', 'configs/reid/resnet50_tp_mars.py',
        test=('--rerank',), training='resnet50_tp_mars')
    assert found.data == 'paper'
    found = paper_experiment(
        Row('x', 'resnext101_bert_hmdb51', test=('--all-splits',)), 'action', REPO)
    assert (found.splits, found.test) == ((1, 2, 3), ())
    found = paper_experiment(
        Row('x', 'resnet50_tp_mars', test=('--cfg-options', 'model.head.num_pids=150')),
        'cost', REPO)
    assert found.options == {'model.head.num_pids': 150}
    with pytest.raises(FileNotFoundError, match="no config of experiment 'resnet7'"):
        paper_experiment(Row('x', 'resnet7'), 'reid', REPO)

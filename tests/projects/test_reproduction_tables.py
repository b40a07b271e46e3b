"""The shipped tables: complete, runnable, and no number without a source."""
import importlib.util
import re
import sys
from copy import deepcopy
from functools import cache
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
import yaml
from mmengine.config import Config

from cosam_mm.datasets.synthetic.action_dataset_files import split_subsets
from projects.reproduction.experiment import experiment_config, load_synthetic
from projects.reproduction.table import load_table

REPO = Path(__file__).resolve().parents[2]
CONFIG_DIR = REPO / 'configs'
TABLE_DIR = REPO / 'projects/reproduction/tables'
TABLES = {path.stem: load_table(path)
          for path in sorted(TABLE_DIR.glob('*.yml')) if path.stem != 'synthetic'}
SYNTHETIC = load_synthetic(TABLE_DIR / 'synthetic.yml')

FOLDERS = dict(reid=('reid',), action=('',), cost=('', 'reid'))
METRICS = dict(
    reid=re.compile(r'((handbag|hat|backpack)_)?(mAP|R1|R5|R10|R20)'),
    action=re.compile('top[13]'),
    cost=re.compile('params_M|flops_G'),
    masks=re.compile(r'AUC_(\d+|limit)|IoU'))
DEMO = re.compile(
    r'resnet14(_cosam(2|3|4|5|34|35|45|345)|_nonlocal45)?_(tp|ta|rnn)_demo'
    r'(_(t2|t8|random|spatial|channel))?'
    r'|resnext14(_cosam)?(_(bert|lstm))?_demo')

# As the README quotes the paper: by run, and whether re-ranked.
BEST = {
    ('se_resnet50_cosam45_tp_mars', False): {'mAP': 79.9, 'R1': 84.9},
    ('se_resnet50_cosam45_tp_mars', True): {'mAP': 87.4, 'R1': 86.9},
    ('se_resnet50_cosam45_tp_dukemtmc', False): {'mAP': 94.1, 'R1': 95.4},
    ('se_resnet50_cosam45_tp_ilids', False): {'R1': 79.61},
}


def rows_with(*keys):
    """(table, row) of the rows that have something."""
    return [(table, row) for table in TABLES.values() for row in table.rows
            if all(getattr(row, key) for key in keys)]


@cache
def read_config(path):
    return Config.fromfile(path)


def config_file(table, row):
    """The config of a row's training."""
    found = [path for folder in FOLDERS[table.task]
             if (path := CONFIG_DIR / folder / f'{row.run}.py').is_file()]
    assert len(found) == 1, f'{row.run}: {found}'
    return found[0]


def paper_of(name):
    """Run to the paper's numbers, of the rows that have some."""
    return {row.run: row.paper for row in TABLES[name].rows if row.paper}


@pytest.fixture(scope='module')
def tool():
    """``tools/test.py`` as a module."""
    spec = importlib.util.spec_from_file_location('tools_test',
                                                  REPO / 'tools' / 'test.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# -- form ----------------------------------------------------------------------


@pytest.mark.parametrize('name', TABLES)
def test_tables_are_read_and_their_rows_told_apart(name):
    table = TABLES[name]
    assert all(METRICS[table.task].fullmatch(metric) for metric in table.metrics)
    assert all(row.demo in SYNTHETIC for row in table.rows if row.demo)
    for key in (lambda row: row.full_label,
                lambda row: (row.run or row.demo, row.part, row.test)):
        assert len(set(map(key, table.rows))) == len(table.rows)
    headings = [group for group, _ in groupby(row.group for row in table.rows)]
    assert len(set(headings)) == len(headings)


def test_experiments_on_synthetic_data_fit_their_configs(monkeypatch):
    load = cache(Config.fromfile)
    monkeypatch.setattr(Config, 'fromfile', lambda file: deepcopy(load(file)))
    for name, one in SYNTHETIC.items():
        if one.training != name:
            continue  # only its test differs
        cfg = experiment_config(one, REPO)
        num_epochs = 0
        for step in cfg.param_scheduler:
            length = step.get('total_steps') or step['end'] - step.get('begin', 0)
            num_epochs += length if step.get('by_epoch', True) else \
                length / steps_of_an_epoch(one, cfg)
        assert cfg.train_cfg.max_epochs == num_epochs, name


def steps_of_an_epoch(experiment, cfg):
    """Of synthetic clips: eight classes, of each those not for the test."""
    subsets = split_subsets(0, 'grow', experiment.train_data['clips_per_class'])
    return -(-8 * np.sum(subsets[0] == 1) // cfg.train_dataloader.batch_size)


# -- what the rows run -----------------------------------------------------------


@pytest.mark.parametrize('name', TABLES)
def test_rows_run_with_the_tools(name, tool, monkeypatch):
    """The configs are there, and ``tools/test.py`` takes the arguments for them."""
    monkeypatch.chdir(REPO)
    monkeypatch.setenv('LOCAL_RANK', '0')
    table = TABLES[name]
    for row in (row for row in table.rows if row.run):
        path = config_file(table, row)
        arguments = row.test
        monkeypatch.setattr(sys, 'argv', ['test.py', str(path), 'x.pth', *arguments])
        args = tool.parse_args()
        assert args.checkpoint == ['x.pth'], 'an argument was taken for a checkpoint'
        if args.all_splits:
            assert read_config(path).num_splits > 1
        if args.cross_dataset:
            dataset, other = (
                read_config(file).test_dataloader.dataset.gallery.type
                for file in (path, args.cross_dataset))
            assert dataset != other
        if args.cfg_options:
            assert set(args.cfg_options) <= set(flat(read_config(path)))
        if table.task == 'reid':
            by_attribute = any('_' in metric for metric in table.metrics)
            assert by_attribute is bool(args.attributes)
        if table.task == 'cost':
            assert set(arguments[:1]) <= {'--cfg-options'}


def flat(settings, prefix=''):
    """Dotted names of all settings of a config."""
    for key, value in settings.items():
        yield f'{prefix}{key}'
        if isinstance(value, dict):
            yield from flat(value, f'{prefix}{key}.')


def test_counterparts_on_synthetic_data_are_the_same_but_for_size():
    """Attention, aggregation and variant of the names agree."""
    for _, row in rows_with('run', 'demo'):
        assert DEMO.fullmatch(row.demo)
        run = re.sub(r'^(se_)?resnet50_|^(resnext101|i3d)_', '', row.run)
        run = re.sub('_(mars|dukemtmc|ilids|hmdb51|ucf101)', '', run)
        demo = re.sub('^(resnet14|resnext14)_', '', row.demo).replace('_demo', '')
        assert demo == run


# -- the papers' numbers ---------------------------------------------------------


def test_best_rows():
    found = {(row.run, '--rerank' in row.test): row.paper
             for name in ('iccv5', 'iccv6', 'iccv7') for row in TABLES[name].rows
             if row.paper}
    assert found == BEST


def test_accuracies_are_those_of_the_metafile():
    """Which has them for every config of the paper, and only for these."""
    models = yaml.safe_load(
        (CONFIG_DIR / 'metafile.yml').read_text(encoding='utf-8'))['Models']
    expected = {
        model['Name']: {'top1': result['Metrics']['Top 1 Accuracy (paper)'],
                        'top3': result['Metrics']['Top 3 Accuracy (paper)']}
        for model in models for result in model.get('Results', ())}
    assert paper_of('video_classification') == expected


def test_costs_are_those_the_readmes_quote():
    """Parameters, which equal ours; and of re-identification the operations."""
    text = (REPO / 'configs' / 'reid' / 'README.md').read_text(encoding='utf-8')
    (quoted,) = re.findall(r'The paper prints (.+?)\. Its billions', text, re.DOTALL)
    numbers = [float(number) for number in re.findall(r'\d+\.\d+', quoted)]
    found = paper_of('nonlocal')
    runs = [f'{backbone}_{attention}45_tp_mars'
            for backbone in ('resnet50', 'se_resnet50')
            for attention in ('cosam', 'nonlocal')]
    assert list(found) == runs
    assert [found[run]['params_M'] for run in runs] \
        + [found[run]['flops_G'] for run in runs] == numbers


# -- tables that are wrong ---------------------------------------------------------


GOOD = dict(title='A', metrics=['mAP'], rows=[dict(label='x', run='y')])


@pytest.mark.parametrize(('change', 'word'), [
    (dict(task='sing'), 'sing'), (dict(rows=[]), 'rows'),
    (dict(metrics=[]), 'metrics'), (dict(colour='red'), 'colour'),
    (dict(title=3), 't.yml'),
    (dict(baseline='z'), "'z'"), (dict(rows=[dict(label='x')]), "row 'x'"),
    (dict(rows=[dict(label='x', run='y', wrong=1)]), 'wrong'),
    (dict(rows=[dict(label='x', run='y', paper=dict(R1=3))]), 'R1')])
def test_wrong_table(tmp_path, change, word):
    path = tmp_path / 't.yml'
    path.write_text(yaml.safe_dump(GOOD))
    assert load_table(path).rows[0].run == 'y'
    path.write_text(yaml.safe_dump({**GOOD, **change}))
    with pytest.raises(ValueError, match=word):
        load_table(path)


def test_entries_that_stand_for_several_rows(tmp_path):
    path = tmp_path / 't.yml'
    path.write_text(yaml.safe_dump({**GOOD, 'rows': [
        dict(group='g', demo='d', maps=dict(A='a', B='b'), layers=[1, 4]),
        dict(group='g', demos=dict(none='x', some='y'), difficulties=['fog'])]}))
    found = load_table(path).rows
    assert [(row.label, row.part, row.demo) for row in found[:4]] == [
        ('A, layer 1', 'a_layer1', 'd'), ('A, layer 4', 'a_layer4', 'd'),
        ('B, layer 1', 'b_layer1', 'd'), ('B, layer 4', 'b_layer4', 'd')]
    assert [(row.group, row.label, row.demo) for row in found[4:]] == [
        ('g', 'none', 'x'), ('g', 'some', 'y'), ('fog 0', 'none', 'x_fog0'),
        ('fog 0', 'some', 'y_fog0'), ('fog 1', 'none', 'x_fog1'),
        ('fog 1', 'some', 'y_fog1')]


def test_file_that_is_no_table(tmp_path):
    with pytest.raises(FileNotFoundError, match='none'):
        load_table(tmp_path / 'none.yml')
    for text in ('a: [', '- 1'):
        (tmp_path / 't.yml').write_text(text)
        with pytest.raises(ValueError, match='t.yml'):
            load_table(tmp_path / 't.yml')


@pytest.mark.parametrize(('runs', 'word'), [
    ('a: {like: b}', 'b'), ('a: {like: a}', 'circle'), ('a: {task: reid}', "'a'"),
    ('a: {task: sing, config: c, synthetic: {kind: reid}}', 'task'),
    ('a: {task: reid, config: c, synthetic: {kind: reid}, fog: 1}', 'fog'),
    ('a: {task: reid, config: c, synthetic: {kind: reid}, start: b}', 'missing'),
    ('a: {task: reid, config: c, synthetic: {kind: reid}, start: a}', 'circle')])
def test_wrong_experiment(tmp_path, runs, word):
    path = tmp_path / 'synthetic.yml'
    path.write_text(f'runs:\n  {runs}\n')
    with pytest.raises(ValueError, match=word):
        load_synthetic(path)


def test_an_experiment_like_another(tmp_path):
    path = tmp_path / 'synthetic.yml'
    path.write_text('''
runs:
  a: {task: reid, config: c, synthetic: {kind: reid, clutter: 0}, options: {x: 1, y: 2}}
  b: {like: a, synthetic: {test: {clutter: 1}}, options: {y: 3}, training: a}
''')
    found = load_synthetic(path)
    assert (found['a'].training, found['b'].training) == ('a', 'a')
    assert found['b'].options == dict(x=1, y=3)
    assert found['b'].train_data == dict(kind='reid', clutter=0)
    assert found['b'].test_data == dict(kind='reid', clutter=1)

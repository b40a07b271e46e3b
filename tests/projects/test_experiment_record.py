"""Records of runs: what is written is read, in a text that depends on nothing else."""
import json
from dataclasses import replace

import numpy as np
import pytest

from projects.reproduction.record import Record, SeedResult, load_record, save_record
from tests.projects.experiment_data import make_record

RECORD = Record(
    run='x', data='demo', task='reid', config='configs/reid/x.py',
    options={'b.c': [1, 2], 'a': None}, draw={'level': 0.5}, start='y',
    command='python a.py', versions={'torch': '2', 'numpy': '2'}, seeds={
        10: SeedResult(dict(mAP=66.51239, R1=70.), dict(AP=(1., .12345, None)), 51.26),
        9: SeedResult(dict(mAP=1.5, R1=0.), dict(AP=(0., float('nan'), 1.)), 3.)})
TEXT = """{
  "command": "python a.py",
  "config": "configs/reid/x.py",
  "data": "demo",
  "draw": {
    "level": 0.5
  },
  "options": {
    "a": null,
    "b.c": [1, 2]
  },
  "run": "x",
  "seeds": {
    "9": {
      "items": {
        "AP": [0, null, 1]
      },
      "metrics": {
        "R1": 0,
        "mAP": 1.5
      },
      "seconds": 3
    },
    "10": {
      "items": {
        "AP": [1, 0.1235, null]
      },
      "metrics": {
        "R1": 70,
        "mAP": 66.5124
      },
      "seconds": 51.3
    }
  },
  "start": "y",
  "task": "reid",
  "versions": {
    "numpy": "2",
    "torch": "2"
  }
}
"""


def test_text(tmp_path):
    path = tmp_path / 'new' / 'x.json'
    save_record(RECORD, path)
    assert path.read_text(encoding='utf-8') == TEXT
    assert [file.name for file in path.parent.iterdir()] == ['x.json']


def test_what_is_written_is_read_and_written_alike(tmp_path):
    path = tmp_path / 'x.json'
    save_record(RECORD, path)
    record = load_record(path)
    assert record == replace(RECORD, seeds={
        9: SeedResult(dict(mAP=1.5, R1=0.), dict(AP=(0., None, 1.)), 3.),
        10: SeedResult(dict(mAP=66.5124, R1=70.), dict(AP=(1., .1235, None)), 51.3)})
    save_record(record, path)
    assert path.read_text(encoding='utf-8') == TEXT


def test_arrays(tmp_path):
    assert RECORD.seconds == 54.26
    assert RECORD.metrics == ('mAP', 'R1')
    np.testing.assert_array_equal(RECORD.values('mAP'), [1.5, 66.51239])
    nan = np.nan
    np.testing.assert_array_equal(RECORD.item_scores('AP'),
                                  [[0, nan, 1], [1, .12345, nan]])
    np.testing.assert_array_equal(RECORD.item_scores('AP', [10]), [[1, .12345, nan]])
    assert RECORD.item_scores('correct') is None


def test_without_draw_and_items(tmp_path):
    record = make_record(data='paper', with_items=False)
    save_record(record, tmp_path / 'base.json')
    assert load_record(tmp_path / 'base.json') == record


def with_seed(**changes):
    seeds = {0: SeedResult(dict(a=1.), dict(AP=(1.,)), 1.)}
    seeds[0] = replace(seeds[0], **changes)
    return replace(RECORD, seeds=seeds)


TWO = {9: RECORD.seeds[9], 10: replace(RECORD.seeds[10], metrics=dict(mAP=1.))}


@pytest.mark.parametrize(('record', 'message'), [
    (replace(RECORD, run='y'), r'x.json: the file of this record must be named y.json'),
    (replace(RECORD, data='d'), r"x.json: data: must be one of \('paper', 'demo'\), g"),
    (replace(RECORD, task='d'), r"task: must be one of \('reid', 'action', 'cost', '"),
    (replace(RECORD, command=''), "x.json: command: must be a text, got ''."),
    (replace(RECORD, options=[1]), r'options: must be a mapping of names to values, g'),
    (replace(RECORD, versions=dict(a=1)), 'version of a: must be a text, got 1.'),
    (replace(RECORD, seeds={}), r'seeds must be at least one whole number from 0, got'),
    (replace(RECORD, seeds={-1: TWO[9]}), r"whole number from 0, got \['-1'\]."),
    (replace(RECORD, seeds=TWO), r"x.json: all seeds must have the same metrics, but "
     r"seed 9 has \['R1', 'mAP'\] and seed 10 has \['mAP'\]."),
    (replace(RECORD, seeds={1: TWO[9], 2: replace(TWO[9], items={})}),
     r"same items, but seed 1 has {'AP': 3} and seed 2 has {}."),
    (with_seed(metrics=dict(a=float('inf'))), 'seed 0: metric a: must be a finite num'),
    (with_seed(items=dict(AP=())), r'items AP: must be a list of at least one score'),
    (with_seed(items=dict(AP=(1., 2.))), 'items AP, number 1: must be a finite number '
     'from 0 to 1, got 2.'),
    (with_seed(seconds=-1.), 'seconds: must be a finite number of at least 0, got -1.'),
])
def test_refused_and_nothing_written(tmp_path, record, message):
    path = tmp_path / 'x.json'
    path.write_text('before', encoding='utf-8')
    with pytest.raises(ValueError, match=message):
        save_record(record, path)
    assert path.read_text(encoding='utf-8') == 'before'
    assert [file.name for file in tmp_path.iterdir()] == ['x.json']


def test_options_that_json_does_not_know(tmp_path):
    with pytest.raises(TypeError, match='not JSON serializable'):
        save_record(replace(RECORD, options=dict(a={1, 2})), tmp_path / 'x.json')
    assert list(tmp_path.iterdir()) == []


def edited(change):
    content = json.loads(TEXT)
    change(content)
    return json.dumps(content)


@pytest.mark.parametrize(('text', 'message'), [
    ('{', r'x.json: is no JSON: Expecting'),
    ('[]', r'x.json: must be a mapping, got \[\].'),
    (TEXT.replace('"x"', '"y"'), "x.json: run must be the name of the file, 'x', got "),
    (edited(lambda c: c.pop('draw')), r"x.json: lacks \['draw'\]; it needs \['run'"),
    (edited(lambda c: c.update(more=1)), r"has the unknown keys \['more'\]; allowed"),
    (edited(lambda c: c['seeds'].update({'01': c['seeds']['9']})), r"whole number"),
    (edited(lambda c: c['seeds']['9'].pop('items')), r"seed 9: lacks \['items'\]; it"),
])
def test_files_that_are_no_records(tmp_path, text, message):
    path = tmp_path / 'x.json'
    path.write_text(text, encoding='utf-8')
    with pytest.raises(ValueError, match=message):
        load_record(path)


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"There is no record '.*y.json'."):
        load_record(tmp_path / 'y.json')

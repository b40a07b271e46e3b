"""Small tables and records."""
import numpy as np

from projects.reproduction.record import Record, SeedResult
from projects.reproduction.table import Row, Table

TABLE = """
name: t1
title: Where COSAM stands
source: A paper, Table 1
numbers_from: its page
task: reid
metrics: [mAP, R1]
note: >-
  Two lines
  of note.
baseline: base
rows:
- label: none
  run: base
  demo: small
  paper: {mAP: 70, R1: 80.25}
- group: with COSAM
  label: COSAM_4
  run: cosam4
  demo: small_cosam4
  paper: {mAP: 71.5}
- group: with COSAM
  label: re-ranked
  run: cosam4
  test: [--rerank]
"""


def make_row(label='none', run='base', **options):
    return Row(label, run, **options)


def make_table(*rows, **options):
    return Table(**{**dict(name='t1', title='Where COSAM stands', source='A paper',
                           numbers_from='its page', task='reid', metrics=('mAP', 'R1'),
                           rows=rows or (make_row(),)), **options})


def make_record(run='base', maps=(50., 52.), data='demo', with_items=True, draw=None,
                **options):
    """A record whose mean AP is that of its metric, each AP drawn around it."""
    seeds = {}
    for seed, value in enumerate(maps):
        spread = np.random.default_rng(seed).uniform(-.1, .1, 6)
        scores = (value / 100 + spread - spread.mean()).tolist()
        seeds[seed] = SeedResult(
            dict(mAP=value, R1=value + 10),
            dict(AP=(*scores[:3], None, *scores[3:])) if with_items else {}, 60.5)
    return Record(**{**dict(
        run=run, data=data, task='reid', config=f'configs/reid/{run}.py', options={},
        draw=dict(level=1, seed=0) if draw is None and data == 'demo' else draw,
        start='', command=f'python tools/reproduce.py {run}',
        versions=dict(torch='2.0'), seeds=seeds), **options})

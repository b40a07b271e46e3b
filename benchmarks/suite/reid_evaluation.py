"""Re-ID evaluation: ranking and re-ranking against loops and dense matrices.

Parts, at the size of MARS (1,980 queries, 11,310 gallery entries, 2048-D features):

- ``rank``: distances, CMC and mAP against a loop over the queries, and against one
  single-precision matrix of distances with a loop behind it;
- ``rerank``: k-reciprocal re-ranking against the dense form;
- ``memory``: peak memory of both, in processes of their own;
- ``rank_large``, ``rerank_large``: the same with a gallery ten times as large, in
  blocks; time and peak memory, without a baseline: the dense form would hold
  matrices of 53 GB.

Features are random: identities of several tracklets around a centre, seen by six
cameras, and distractors without one, rectified as a ReLU leaves them.
"""
import multiprocessing
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.harness import Options
from benchmarks.metrics import Metric, at_least, at_most
from benchmarks.reid_baselines import (
    dense_rerank,
    loop_evaluation,
    loop_over_distances,
)
from cosam_mm.evaluation.functional.distance import distance_blocks
from cosam_mm.evaluation.functional.ranking import (
    QueryRanks,
    rank_distances,
    retrieval_metrics,
)
from cosam_mm.evaluation.functional.reranking import rerank_blocks
from projects.attention_study.measurement import (
    Summary,
    ratio_to_baseline,
    summarize,
    time_alternately,
)

__all__ = ['PARTS', 'run']

SIZE, QUICK_SIZE = (1980, 11310, 2048), (20, 200, 16)
LARGER = 10  # times the gallery
IDENTITIES = 626
DISTRACTORS = 0.27  # share of the gallery
CAMERAS = 6
SPREAD = 2.0  # of an identity's tracklets, where identities have 1
# The loop's cost is the same for each query: it runs over one in so many.
SAMPLED = 30
GIB = 2**30


def run(options: Options) -> Iterator[Metric]:
    """Yield the metrics of the parts that were asked for."""
    for part in options.parts:
        for metric in PARTS[part](options):
            yield replace(metric, target=None) if options.quick else metric


def make_features(size: tuple, seed: int) -> tuple:
    """Arguments of :func:`rank_features`: features, persons and cameras.

    Args:
        size: (Q, G, D).
        seed: Of all of them.
    """
    num_query, num_gallery, length = size
    rng = np.random.default_rng(seed)
    identities = min(IDENTITIES, num_query)
    g_pids = rng.integers(identities, size=num_gallery)
    g_pids[rng.random(num_gallery) < DISTRACTORS] = -1
    pids = np.concatenate([np.arange(num_query) % identities, g_pids])
    features = rng.standard_normal((len(pids), length), dtype=np.float32)
    centres = rng.standard_normal((identities, length), dtype=np.float32)
    known = pids >= 0
    for start in range(0, len(pids), 4096):  # no second copy of them all
        part = slice(start, start + 4096)
        chosen = known[part]
        features[part][chosen] = (centres[pids[part][chosen]]
                                  + SPREAD * features[part][chosen])
        # As long as the others: nearer to everybody otherwise.
        features[part][~chosen] *= np.float32(np.hypot(1, SPREAD))
    np.maximum(features, 0, out=features)
    camids = rng.integers(CAMERAS, size=len(pids))
    return (features[:num_query], features[num_query:], pids[:num_query],
            pids[num_query:], camids[:num_query], camids[num_query:])


def size_of(options: Options, times: int = 1) -> tuple:
    """(Q, G, D) with so many times the gallery."""
    q, g, d = QUICK_SIZE if options.quick else SIZE
    return q, g * times, d


def label(size: tuple) -> str:
    """Its name in a metric."""
    return f'{size[0]:,} x {size[1]:,}, {size[2]}-D'


def _exact(value: float) -> Summary:
    return Summary(value, value, value, 1)


def rank_features(q, g, *ids) -> QueryRanks:
    """Ranks of the positive matches from features, persons and cameras."""
    return rank_distances(distance_blocks(q, g), *ids)


# -- against baselines -----------------------------------------------------------


def matrix_then_loop(q, g, *ids) -> tuple[np.ndarray, float]:
    """Distances in one product of single precision, then the loop."""
    squared = (q**2).sum(axis=1)[:, None] + (g**2).sum(axis=1)
    distances = np.sqrt(np.maximum(squared - 2 * (q @ g.T), 0))
    return loop_over_distances(distances, *ids)


def _rank(options: Options) -> Iterator[Metric]:
    size = size_of(options)
    data = make_features(size, options.seed)
    step = 1 if options.quick else SAMPLED
    sample = tuple(values[::step] if i % 2 == 0 else values
                   for i, values in enumerate(data))
    times = time_alternately({
        'loop': lambda: loop_evaluation(*sample),
        'matrix, then loop': lambda: matrix_then_loop(*data),
        'ours': lambda: retrieval_metrics(rank_features(*data)),
    }, options.seconds, 2 if options.quick else None, warmup=1)
    share = len(data[0]) / len(sample[0])
    times['loop'] = [seconds * share for seconds in times['loop']]
    for name, target in (('loop', at_least(25)), ('matrix, then loop', None)):
        note = (f'the loop ran over {len(sample[0])} of the queries, its time is '
                f'scaled by {share:g}' if name == 'loop' else '')
        yield Metric('rank', f'{name} / ours, {label(size)}', 'times',
                     ratio_to_baseline(times, name)['ours'], target,
                     {'size': size, 'baseline': name,
                      'baseline_seconds': summarize(times[name]).median,
                      'contender_seconds': summarize(times['ours']).median}, note)
    cmc, mean_ap = matrix_then_loop(*data)
    ours = retrieval_metrics(rank_features(*data), len(cmc))
    yield Metric('rank', f'difference of mAP, {label(size)}', 'error',
                 _exact(abs(ours.mean_ap - mean_ap)), at_most(1e-5),
                 {'mean_ap': ours.mean_ap, 'rank_1': float(ours.cmc[0]),
                  'cmc_difference': float(np.abs(ours.cmc - cmc).max())})


def _rerank(options: Options) -> Iterator[Metric]:
    size = size_of(options)
    q, g, *_ = make_features(size, options.seed)
    found = {}

    def ours() -> None:
        found['ours'] = np.concatenate([block for _, block in rerank_blocks(q, g)])

    def dense() -> None:
        found['dense'] = dense_rerank(q, g)

    times = time_alternately({'dense': dense, 'ours': ours},
                             rounds=2 if options.quick else 3, warmup=1)
    yield Metric('rerank', f'dense / ours, {label(size)}', 'times',
                 ratio_to_baseline(times, 'dense')['ours'], at_least(3),
                 {'size': size, 'baseline_seconds': summarize(times['dense']).median,
                  'contender_seconds': summarize(times['ours']).median})
    difference = np.abs(found['ours'] - found['dense'])
    yield Metric('rerank', f'largest difference, {label(size)}', 'error',
                 _exact(float(difference.max())), None,
                 {'share_above_1e-5': float((difference > 1e-5).mean())})


# -- memory, and large galleries ---------------------------------------------------


def rank_in_blocks(data: tuple) -> None:
    """Metrics from features."""
    retrieval_metrics(rank_features(*data))


def rerank_in_blocks(data: tuple) -> None:
    """Metrics from re-ranked features."""
    retrieval_metrics(rank_distances(rerank_blocks(*data[:2]), *data[2:]))


def rerank_densely(data: tuple) -> None:
    """The dense form."""
    dense_rerank(*data[:2])


def cost_alone(call: Callable, size: tuple, seed: int) -> tuple[float, int]:
    """Seconds of a call in a process of its own, and bytes it held beyond features."""
    context = multiprocessing.get_context('spawn')
    with context.Pool(1) as pool:
        return pool.apply(_cost_here, (call, size, seed))


def _cost_here(call: Callable, size: tuple, seed: int) -> tuple[float, int]:
    call(make_features(QUICK_SIZE, seed))  # what is imported late is no part of it
    data = make_features(size, seed)
    pages = int(Path('/proc/self/statm').read_text().split()[1])
    before = pages * os.sysconf('SC_PAGE_SIZE')
    start = time.perf_counter()
    call(data)
    seconds = time.perf_counter() - start
    return seconds, _peak_bytes() - before


def _peak_bytes() -> int:
    """The most that this process held; ``ru_maxrss`` would count its parent in, too.

    An earlier peak, if it was higher, makes a difference too large, never too small.
    """
    status = Path('/proc/self/status').read_text(encoding='utf-8')
    return int(re.search(r'VmHWM:\s+(\d+) kB', status)[1]) * 1024


def _costs(part: str, call: Callable, name: str, size: tuple, options: Options,
           target=None) -> Iterator[Metric]:
    seconds, extra = cost_alone(call, size, options.seed)
    details = {'size': size, 'seconds': seconds, 'bytes': extra}
    yield Metric(part, f'peak beside the features, {name}, {label(size)}', 'GiB',
                 _exact(extra / GIB), target, details)
    if part != 'memory':
        yield Metric(part, f'time, {name}, {label(size)}', 's', _exact(seconds), None,
                     details, "this machine's")


def _memory(options: Options) -> Iterator[Metric]:
    size = size_of(options)
    for call, name, target in ((rank_in_blocks, 'ranking', None),
                               (rerank_in_blocks, 're-ranking', at_most(2)),
                               (rerank_densely, 'dense re-ranking', None)):
        yield from _costs('memory', call, name, size, options, target)


def _rank_large(options: Options) -> Iterator[Metric]:
    yield from _costs('rank_large', rank_in_blocks, 'ranking',
                      size_of(options, LARGER), options, at_most(2))


def _rerank_large(options: Options) -> Iterator[Metric]:
    yield from _costs('rerank_large', rerank_in_blocks, 're-ranking',
                      size_of(options, LARGER), options, at_most(2))


PARTS = {'rank': _rank, 'rerank': _rerank, 'memory': _memory,
         'rank_large': _rank_large, 'rerank_large': _rerank_large}

"""Timing with a clock that the contenders move, memory with tensors of known size."""
import gc
import json

import pytest
import torch

from projects.attention_study.measurement import (
    Summary,
    describe_environment,
    peak_extra_bytes,
    ratio_to_baseline,
    summarize,
    time_alternately,
)


class FakeClock:
    """Stands still until a contender moves it."""

    def __init__(self):
        self.now, self.calls = 0.0, []

    def __call__(self):
        return self.now

    def contender(self, name, *seconds):
        """Takes these seconds in turn, the last ones ever after."""
        left = list(seconds)

        def call():
            self.calls.append(name)
            self.now += left.pop(0) if len(left) > 1 else left[0]
        return call


def test_summarize_gives_median_and_quartiles():
    assert summarize([9, 1, 5, 3, 7]) == Summary(5.0, 3.0, 7.0, 5)
    assert summarize(iter([2])) == Summary(2.0, 2.0, 2.0, 1)
    with pytest.raises(ValueError, match='no measurements'):
        summarize([])


def test_ratio_is_taken_within_rounds():
    """A machine that slows down for a round leaves the ratio alone."""
    times = {'slow': [4.0, 40.0, 6.0], 'fast': [2.0, 20.0, 2.0]}
    ratios = ratio_to_baseline(times, 'slow')
    assert ratios['slow'] == Summary(1.0, 1.0, 1.0, 3)
    assert ratios['fast'] == Summary(2.0, 2.0, 2.5, 3)
    with pytest.raises(ValueError, match="'x'"):
        ratio_to_baseline(times, 'x')


def test_contenders_alternate_and_turn():
    clock = FakeClock()
    contenders = {name: clock.contender(name, seconds)
                  for name, seconds in (('a', 1.0), ('b', 2.0), ('c', 4.0))}
    times = time_alternately(contenders, rounds=4, warmup=1, clock=clock)
    assert times == {'a': [1.0] * 4, 'b': [2.0] * 4, 'c': [4.0] * 4}
    assert ''.join(clock.calls) == 'abc' 'abc' 'cba' 'bca' 'acb'


def test_short_calls_are_repeated_within_their_turn():
    clock = FakeClock()
    contenders = {'short': clock.contender('short', 2**-9),  # 1.95 ms: 3 in 5 ms
                  'long': clock.contender('long', 100.0, 1.0)}  # the warm-up is slow
    times = time_alternately(contenders, rounds=2, warmup=1, clock=clock)
    assert times == {'short': [2**-9] * 2, 'long': [1.0] * 2}
    assert clock.calls.count('short') == 1 + 2 * 3
    assert clock.calls.count('long') == 1 + 2


@pytest.mark.parametrize(('each', 'seconds', 'rounds'), [
    (1.0, 20.0, 10), (1.0, 1.0, 7), (0.01, 100.0, 101)])
def test_rounds_fill_the_seconds(each, seconds, rounds):
    clock = FakeClock()
    contenders = {name: clock.contender(name, each) for name in 'ab'}
    times = time_alternately(contenders, seconds=seconds, clock=clock)
    assert [len(one) for one in times.values()] == [rounds, rounds]


@pytest.mark.parametrize(('contenders', 'settings', 'name'), [
    ({}, {}, 'number of contenders'), ({'a': int}, {'rounds': 0}, 'rounds'),
    ({'a': int}, {'warmup': 0}, 'warmup')])
def test_nothing_to_time(contenders, settings, name):
    with pytest.raises(ValueError, match=name):
        time_alternately(contenders, **settings)


def test_garbage_collection_waits():
    seen = []
    time_alternately({'a': lambda: seen.append(gc.isenabled())}, rounds=1)
    assert set(seen) == {False}
    assert gc.isenabled()


# -- memory ----------------------------------------------------------------------

N = 250_000  # fp32 values in 1 MB


def megabytes(call):
    """Python numbers in arithmetic become tensors of a few bytes."""
    peak = peak_extra_bytes(call)
    assert peak == peak_extra_bytes(call)
    return pytest.approx(peak / 1e6, abs=1e-4)


def test_peak_counts_what_is_held_at_a_time():
    def chain():
        a = torch.ones(N)
        b = torch.neg(a)
        del a
        c = torch.neg(b)      # b and c
        del b
        return torch.neg(c)   # c and the result

    def keep():
        a = torch.ones(N)
        b = torch.neg(a)
        return a, b, torch.neg(b)

    assert megabytes(chain) == 2.0
    assert megabytes(keep) == 3.0
    assert megabytes(lambda: torch.ones(N).neg_()) == 1.0
    assert megabytes(lambda: None) == 0.0
    # What was there before does not count.
    held = torch.ones(8 * N)
    assert megabytes(lambda: held[:N].neg()) == 1.0
    kept = [torch.ones(2 * N)]
    assert megabytes(lambda: kept.append(torch.ones(N))) == 1.0
    # Temporaries inside an operation do.
    values = torch.rand(N)
    assert megabytes(lambda: values.median()) == 1.0  # gives one number, from a copy


def test_peak_counts_what_backward_saves():
    x = torch.rand(N, requires_grad=True)

    def exps(count):
        def call():
            y = x
            for _ in range(count):
                y = y.exp()         # each result is saved
            y.sum().backward()
            x.grad = None
        return call

    # Each node frees its result, but for the last, which y holds: so the second
    # node has all of them beside its gradient and the next one.
    assert megabytes(exps(4)) == 6.0
    assert megabytes(exps(8)) == 10.0


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
def test_on_cuda():
    n = 2**20  # the allocator gives blocks of 512 bytes
    a = torch.ones(n, device='cuda')
    assert peak_extra_bytes(lambda: a.neg().neg(), 'cuda') == 8 * n
    times = time_alternately({'one': lambda: a.neg()}, rounds=3, device='cuda')
    assert min(times['one']) > 0


# -- circumstances ---------------------------------------------------------------


def test_environment_names_versions_and_no_machine():
    found = describe_environment()
    assert found['torch'] == torch.__version__
    assert found['threads'] == torch.get_num_threads()
    assert set(found) == {'cosam_mm', 'torch', 'numpy', 'python', 'system', 'device',
                          'threads', 'cores', 'instructions'}
    assert json.loads(json.dumps(found)) == found

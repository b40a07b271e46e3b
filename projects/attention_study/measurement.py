"""Time and peak memory of callables, side by side in one process.

A time says little by itself: machines differ, and one machine differs from minute
to minute. So contenders run in alternation, and what counts is the ratio within a
round. Every result is a median with its quartiles::

    round 0   A B C       ratio of a round: time of the baseline / time of the other
    round 1   C B A       result: median and quartiles of these ratios
    round 2   B C A

Memory is counted at torch's allocator and does not vary between runs of as many
threads.
"""
import gc
import math
import os
import platform
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Union

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from cosam_mm import __version__

Call = Callable[[], object]
Device = Union[str, torch.device]

# A timing below this is repeated within its round: clocks and caches blur it.
LEAST_SECONDS = 5e-3
LEAST_ROUNDS, MOST_ROUNDS = 7, 101
# Instruction sets that decide what bf16 and matrix products can gain.
_INSTRUCTIONS = ('avx2', 'avx512f', 'avx512_bf16', 'amx_bf16', 'asimd', 'bf16', 'sve')


@dataclass(frozen=True)
class Summary:
    """Median, first and third quartile and number of measurements."""

    median: float
    lower: float
    upper: float
    count: int


def summarize(values: Iterable[float]) -> Summary:
    """Median and quartiles of measurements.

    Raises:
        ValueError: There is none.

    Example:
        >>> summarize([4, 1, 2, 3, 5])
        Summary(median=3.0, lower=2.0, upper=4.0, count=5)
    """
    values = np.asarray(list(values), dtype=np.float64)
    if not values.size:
        raise ValueError('There are no measurements: run at least one round.')
    lower, median, upper = np.percentile(values, (25, 50, 75))
    return Summary(float(median), float(lower), float(upper), int(values.size))


def ratio_to_baseline(times: Mapping[str, Sequence[float]],
                      baseline: str) -> dict[str, Summary]:
    """How many times faster each contender is, round by round.

    Args:
        times: Name -> time of each round, as :func:`time_alternately` gives.
        baseline: Name of the contender that counts as 1.

    Returns:
        Name -> summary of (time of the baseline / time of the contender).

    Raises:
        ValueError: ``baseline`` is no contender.
    """
    if baseline not in times:
        raise ValueError(f'There is no contender {baseline!r} to compare with; there '
                         f'are {sorted(times)}.')
    return {name: summarize(b / a for a, b in zip(own, times[baseline]))
            for name, own in times.items()}


# -- time ------------------------------------------------------------------------


def time_alternately(contenders: Mapping[str, Call],
                     seconds: float = 10.0,
                     rounds: Optional[int] = None,
                     warmup: int = 2,
                     device: Device = 'cpu',
                     clock: Optional[Callable[[], float]] = None,
                     track: Callable[[Sequence], Iterable] = iter
                     ) -> dict[str, list[float]]:
    """Time callables in turns.

    After the warm-up, every round runs each contender once. The order turns from
    round to round, so that none always runs after the same neighbour. A contender
    that takes less than 5 ms runs several times within its turn, which then gives
    the mean.

    Args:
        contenders: Name -> callable without arguments.
        seconds: About how long all rounds take: 7 to 101 of them.
        rounds: Number of rounds, in place of ``seconds``.
        warmup: Calls of each contender beforehand, at least 1.
        device: Where the contenders compute. A CUDA device is waited for.
        clock: Gives the time in seconds. Default: ``time.perf_counter``.
        track: Goes over the rounds and shows how far they are.

    Returns:
        Name -> seconds of one call, in each round.

    Raises:
        ValueError: No contender, or fewer than one round or warm-up.
    """
    for name, value in (('number of contenders', len(contenders)),
                        ('warmup', warmup), ('rounds', rounds)):
        if value is not None and value < 1:
            raise ValueError(f'The {name} must be at least 1, got {value}.')
    stopwatch = _stopwatch(torch.device(device), clock or time.perf_counter)
    with _no_garbage_collection():
        guess = {}
        for name, call in contenders.items():
            for _ in range(warmup):
                guess[name] = max(stopwatch(call, 1), 1e-9)
        repeats = {name: math.ceil(LEAST_SECONDS / guess[name]) for name in guess}
        if rounds is None:
            a_round = sum(guess[name] * repeats[name] for name in guess)
            rounds = min(max(int(seconds / a_round), LEAST_ROUNDS), MOST_ROUNDS)
        times = {name: [] for name in contenders}
        for index in track(range(rounds)):
            for name in _turn(list(contenders), index):
                seconds_taken = stopwatch(contenders[name], repeats[name])
                times[name].append(seconds_taken / repeats[name])
    return times


def _turn(names: list[str], index: int) -> list[str]:
    """Order of a round: odd ones backwards, the start moving on every second."""
    start = index // 2 % len(names)
    names = names[start:] + names[:start]
    return names[::-1] if index % 2 else names


def _stopwatch(device: torch.device, clock: Callable[[], float]):
    """A function that gives the seconds of so many calls."""
    def wait() -> None:
        if device.type == 'cuda':
            torch.cuda.synchronize(device)

    def measure(call: Call, repeats: int) -> float:
        wait()
        start = clock()
        for _ in range(repeats):
            call()
        wait()
        return clock() - start

    return measure


@contextmanager
def _no_garbage_collection():
    """Collect now, and not in the middle of a measurement."""
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


# -- memory ----------------------------------------------------------------------


def peak_extra_bytes(call: Call, device: Device = 'cpu') -> int:
    """The most memory a callable holds at a time beyond what was held before.

    Every allocation and release of torch's allocator counts, temporaries inside an
    operation and what backward saves included; not what a library takes past that
    allocator. The callable runs once beforehand, so that what stays allocated after a
    first call is no part of it.
    """
    device = torch.device(device)
    call()
    with _no_garbage_collection():
        if device.type != 'cuda':
            return _cpu_peak(call)
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before


def _cpu_peak(call: Call) -> int:
    """The same on the CPU, from the allocations that the profiler records."""
    # Kineto, which is not used here either, announces itself on stderr otherwise.
    os.environ.setdefault('KINETO_LOG_LEVEL', '99')
    with torch.autograd.profiler.profile(profile_memory=True,
                                         use_kineto=False) as profiler:
        call()
    records = [(event.start_ns(), event.nbytes())
               for event in profiler.kineto_results.events()
               if event.name() == '[memory]']
    held = peak = 0
    for _, size in sorted(records, key=lambda record: record[0]):
        held += size
        peak = max(peak, held)
    return peak


# -- circumstances ---------------------------------------------------------------


def describe_environment(device: Device = 'cpu') -> dict:
    """What a result depends on, without anything that names the machine."""
    device = torch.device(device)
    found = dict(
        cosam_mm=__version__, torch=torch.__version__, numpy=np.__version__,
        python=platform.python_version(),
        system=f'{platform.system()} {platform.machine()}', device='cpu',
        threads=torch.get_num_threads(), cores=os.cpu_count(),
        instructions=_instructions())
    if device.type == 'cuda':
        found.update(device=torch.cuda.get_device_name(device),
                     cuda=torch.version.cuda)
    return found


def _instructions() -> list[str]:
    """Instruction sets of the processor, as far as the system tells."""
    try:
        text = Path('/proc/cpuinfo').read_text(encoding='utf-8')
    except OSError:
        return []
    flags = re.search(r'^(?:flags|Features)\s*:(.*)$', text, re.M)
    words = set(flags.group(1).split()) if flags else set()
    return [name for name in _INSTRUCTIONS if name in words]


@dataclass(frozen=True)
class MultiplyAdds:
    """What a callable multiplies, one for each multiplication with its addition."""
    layers: int  # of convolutions and linear layers: what papers on attention count
    products: int  # of products between batches of matrices, as activations with others

    @property
    def total(self) -> int:
        """Of both."""
        return self.layers + self.products


def count_multiply_adds(call: Callable[[], object]) -> MultiplyAdds:
    """Count the multiply-adds of the operations that a callable really executes.

    Element-wise operations, normalisations and pools count nothing.

    Args:
        call: Without arguments. It runs once, a backward pass in it included.

    Example:
        >>> a, b = torch.rand(2, 3, 4), torch.rand(2, 4, 5)
        >>> count_multiply_adds(lambda: torch.nn.Linear(5, 6)(a @ b))
        MultiplyAdds(layers=180, products=120)
    """
    with FlopCounterMode(display=False) as counter:
        call()
    layers = products = 0
    for operation, flops in counter.get_flop_counts().get('Global', {}).items():
        # mm and addmm are what a linear layer becomes.
        is_product = any(name in str(operation) for name in ('bmm', 'attention'))
        products += flops // 2 if is_product else 0
        layers += 0 if is_product else flops // 2
    return MultiplyAdds(layers, products)

"""Where the time of a training step goes, by operation."""
import os
from collections import Counter
from collections.abc import Callable

import torch

__all__ = ['time_by_operation']


def time_by_operation(step: Callable[[], object],
                      steps: int = 5) -> dict[tuple[str, str], float]:
    """Share of the time that each operation takes itself, forward and backward.

    Args:
        step: A forward and a backward pass.
        steps: How many of them, after one to warm up.

    Returns:
        (``'forward'`` or ``'backward'``, operation) -> share, the largest first.
        Operations that others are made of count themselves, the others nothing of
        them.
    """
    os.environ.setdefault('KINETO_LOG_LEVEL', '99')
    step()
    with torch.autograd.profiler.profile(use_kineto=False) as profiler:
        for _ in range(steps):
            step()
    spent = Counter()
    for event in profiler.function_events:
        spent[_phase(event), event.name] += event.self_cpu_time_total
    total = sum(spent.values())
    return {key: value / total for key, value in spent.most_common()}


def _phase(event) -> str:
    while event is not None:
        if event.name.startswith('autograd::engine'):
            return 'backward'
        event = event.cpu_parent
    return 'forward'

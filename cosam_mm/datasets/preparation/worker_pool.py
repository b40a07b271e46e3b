"""Run one function over many jobs in processes, and outlive those that die.

A decoder that crashes on a broken file takes its process along, and a plain
process pool then gives up every other job too. Here the jobs that were under way
are tried again, each in a process of its own, which tells the guilty one.
"""
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Callable


def default_num_workers() -> int:
    """Four, or as many as this process has CPUs."""
    if hasattr(os, 'sched_getaffinity'):
        return min(4, len(os.sched_getaffinity(0)))
    return min(4, os.cpu_count() or 1)


def run_jobs(function: Callable[[Any], Any], jobs: Sequence, num_workers: int,
             on_crash: Callable[[Any], Any]) -> Iterator[tuple[Any, Any]]:
    """Yields results as they come.

    Args:
        function: Top-level function of one job (it must be picklable). An
            exception of it ends the whole run.
        jobs: Its arguments.
        num_workers: Number of processes; 0 runs the jobs in this one.
        on_crash: Gives the result of a job whose process died, twice.

    Yields:
        (job, result), in the order in which jobs finish.
    """
    if num_workers < 0:
        raise ValueError(f'num_workers must be 0 or more, got {num_workers}')
    if num_workers == 0:
        yield from ((job, function(job)) for job in jobs)
        return
    waiting = deque(jobs)
    while waiting:
        under_way = {}
        try:
            with _pool(min(num_workers, len(waiting))) as pool:
                yield from _feed(pool, function, waiting, under_way, num_workers)
        except BrokenProcessPool:
            for job in under_way.values():
                yield job, _run_alone(function, job, on_crash)


def _feed(pool: ProcessPoolExecutor, function: Callable, waiting: deque,
          under_way: dict, num_workers: int) -> Iterator[tuple[Any, Any]]:
    """Keeps no more jobs under way than run, so that few are in doubt at a crash."""
    while waiting or under_way:
        while waiting and len(under_way) < num_workers:
            # Submitting to a dead pool raises: the job must still be waiting then.
            future = pool.submit(function, waiting[0])
            under_way[future] = waiting.popleft()
        for future in wait(under_way, return_when=FIRST_COMPLETED).done:
            result = future.result()
            yield under_way.pop(future), result


def _run_alone(function: Callable, job: Any, on_crash: Callable) -> Any:
    try:
        with _pool(1) as pool:
            return pool.submit(function, job).result()
    except BrokenProcessPool:
        return on_crash(job)


def _pool(num_workers: int) -> ProcessPoolExecutor:
    # Spawned, because forking a process that has threads can deadlock.
    return ProcessPoolExecutor(
        num_workers, multiprocessing.get_context('spawn'), _init_worker)


def _init_worker() -> None:
    import cv2
    # Ctrl-C is the parent's to handle; a worker ends after its clip.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)

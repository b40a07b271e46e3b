"""Jobs in processes: every job has a result, even where a process dies."""
import os
import signal

import pytest

from cosam_mm.datasets.preparation.worker_pool import default_num_workers, run_jobs


def square_or_die(job):
    if job < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return job * job


def refuse(job):
    raise KeyError(job)


def died(job):
    return f'{job} died'


@pytest.mark.parametrize(('num_workers', 'jobs'), [
    (0, range(5)), (1, range(3)), (2, [1, -2, 3, 4, -5])])
def test_a_process_that_dies_costs_its_own_job_only(num_workers, jobs):
    results = list(run_jobs(square_or_die, jobs, num_workers, died))

    assert sorted(job for job, _ in results) == sorted(jobs)
    assert dict(results) == {
        job: job * job if job >= 0 else f'{job} died' for job in jobs}


@pytest.mark.parametrize('num_workers', [0, 2])
def test_an_exception_ends_the_run(num_workers):
    with pytest.raises(KeyError):
        list(run_jobs(refuse, [1, 2, 3], num_workers, died))


def test_no_jobs():
    assert list(run_jobs(square_or_die, [], 3, died)) == []


def test_negative_number_of_workers():
    with pytest.raises(ValueError, match='-1'):
        list(run_jobs(square_or_die, [1], -1, died))


def test_default_is_small():
    assert 1 <= default_num_workers() <= 4

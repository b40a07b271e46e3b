"""Signals that are received in place of ending the process, and shielded workers."""
import os
import signal

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from cosam_mm.engine.runner.stop_signals import StopSignals, shield_workers

pytestmark = pytest.mark.usefixtures('clean_up_runs')


@pytest.fixture
def stop():
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    said = []
    signals = StopSignals(said.append)
    signals.said = said
    signals.install()
    yield signals
    signals.restore()


def test_terms_are_as_one_until_handlers_are_restored(stop):
    assert stop.agreed() is None
    for _ in range(3):
        os.kill(os.getpid(), signal.SIGTERM)
    assert stop.agreed() == stop.received == signal.SIGTERM
    assert stop.said == ['SIGTERM']
    stop.restore()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler


def test_second_interrupt_is_at_once(stop):
    os.kill(os.getpid(), signal.SIGINT)
    assert stop.agreed() == signal.SIGINT
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
    assert stop.said == ['SIGINT']


def test_further_signals_are_ignored_on_exit(stop):
    os.kill(os.getpid(), signal.SIGTERM)
    stop.leave()
    os.kill(os.getpid(), signal.SIGTERM)  # passed on by a launcher
    assert stop.received == signal.SIGTERM
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler


def test_a_training_that_failed_receives_no_more():
    received = []
    signal.signal(signal.SIGTERM, lambda *_: received.append('here'))
    signals = StopSignals(received.append)
    signals.install()
    del signals
    os.kill(os.getpid(), signal.SIGTERM)
    assert received == ['here']


class Pids(Dataset):

    def __len__(self):
        return 6

    def __getitem__(self, index):
        return os.getpid(), int(torch.initial_seed() % 1000)


def seed_worker(worker_id):
    torch.manual_seed(500 + worker_id)


def test_workers_outlive_signals_and_end_with_their_loader():
    loader = DataLoader(Pids(), batch_size=1, num_workers=1, prefetch_factor=1,
                        collate_fn=list, worker_init_fn=seed_worker)
    shield_workers(loader)
    batches = iter(loader)
    ((pid, seed),) = next(batches)
    assert pid != os.getpid()
    assert seed == 500  # what was to be done in a worker is done
    for number in (signal.SIGINT, signal.SIGTERM):
        # From another process: the cluster, not the parent.
        assert os.system(f'kill -{int(number)} {pid}') == 0
    assert {pid for ((pid, _),) in batches} == {pid}
    del batches
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize('start_method', ['fork', 'forkserver', 'spawn'])
def test_workers_end_when_their_parent_says_so(start_method):
    loader = DataLoader(Pids(), batch_size=1, num_workers=1, collate_fn=list,
                        multiprocessing_context=start_method)
    shield_workers(loader)
    batches = iter(loader)
    next(batches)
    (worker,) = batches._workers
    worker.terminate()
    worker.join(10)
    status = worker.exitcode
    worker.kill()  # else a worker that lives on keeps this process
    # Threads of a BLAS, started before the shield, take the signal as ever.
    assert status in (0, -signal.SIGTERM)
    batches._workers_status[0] = False

"""Several processes on a machine without GPUs, which mmengine does not provide for.

A worker thread of gloo releases the tensors of a collective some time after those who
wait for it have gone on, and takes Python's lock for that (seen with torch 2.13). Where
the interpreter goes down just then, the process aborts: "terminate called without an
active exception". ``destroy_process_group`` would wait for the threads, but the wrapped
model keeps the group alive.

So the group has one worker thread here, which works in order, and a process leaves once
the thread has released the tensor of a last collective. A barrier would not do, as it
holds on to the tensors before it.
"""
import time
import weakref
from datetime import timedelta
from typing import Optional

import torch
import torch.distributed
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.model import BaseTTAModel, is_model_wrapper

__all__ = ['bare_model', 'connect_cpu_processes', 'disconnect_cpu_processes']

BACKEND = 'gloo_in_order'


def bare_model(model: torch.nn.Module) -> torch.nn.Module:
    """The model inside what wraps it for several processes or for augmented tests."""
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    return model


def connect_cpu_processes(cfg: Config) -> None:
    """Let processes that ``torch.distributed.run`` started work on CPUs.

    mmengine gives each process the GPU of its number, and stumbles where there is
    none. So they are connected here, through gloo, and the model is wrapped without a
    device number. With GPUs or another launcher nothing is done.

    Args:
        cfg: The config, with its ``launcher``; ``model_wrapper_cfg``, or
            ``strategy.model_wrapper`` where there is one, is changed. As on GPUs,
            ``env_cfg.dist_cfg.timeout`` says after how many seconds a process that
            waits for another gives up.

    Raises:
        ValueError: The timeout is no positive number.
    """
    if cfg.launcher != 'pytorch' or get_device() != 'cpu':
        return
    if 'strategy' not in cfg:
        cfg.model_wrapper_cfg = {
            'type': 'MMDistributedDataParallel',
            'broadcast_buffers': False,
            'find_unused_parameters': cfg.get('find_unused_parameters', False),
            **(cfg.get('model_wrapper_cfg') or {}),
            'device_ids': None,
        }
    elif cfg.strategy.type == 'FSDPStrategy':
        cfg.strategy.model_wrapper = {
            'type': 'MMFullyShardedDataParallel',
            **(cfg.strategy.get('model_wrapper') or {}),
            'device_id': 'cpu',
        }
    if not torch.distributed.is_initialized():
        if BACKEND not in torch.distributed.Backend.backend_list:
            torch.distributed.Backend.register_backend(BACKEND, _gloo, devices=['cpu'])
        torch.distributed.init_process_group(BACKEND, timeout=_timeout(cfg))


def _timeout(cfg: Config) -> Optional[timedelta]:
    seconds = ((cfg.get('env_cfg') or {}).get('dist_cfg') or {}).get('timeout')
    if seconds is None:
        return None
    if not isinstance(seconds, (int, float)) or not seconds > 0:
        raise ValueError('env_cfg.dist_cfg.timeout must be a positive number of '
                         f'seconds, got {seconds!r}.')
    return timedelta(seconds=seconds)


def disconnect_cpu_processes() -> None:
    """Leave the processes that :func:`connect_cpu_processes` joined, if it did.

    To be called by every process when its work is done, and not by one that failed:
    it would wait for the others.
    """
    if (torch.distributed.is_initialized()
            and torch.distributed.get_backend() == BACKEND):
        _finish_collectives()
        torch.distributed.destroy_process_group()


def _finish_collectives(limit: float = 10) -> None:
    """Wait until the worker thread is idle, at most ``limit`` seconds for it alone."""
    last = torch.ones(1)
    torch.distributed.all_reduce(last)
    held = weakref.ref(last)
    del last
    end = time.monotonic() + limit
    while held() is not None and time.monotonic() < end:
        time.sleep(1e-3)


def _gloo(store, rank: int, size: int, timeout):
    """gloo's group with one worker thread in place of two."""
    gloo = torch.distributed.ProcessGroupGloo
    options = gloo._Options()
    options._devices = [gloo.create_default_device()]
    options._threads = 1
    options._timeout = timeout
    return gloo(store, rank, size, options)

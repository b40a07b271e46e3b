"""Several processes on a machine without GPUs, which mmengine does not provide for."""
import atexit

import torch.distributed
from mmengine.config import Config
from mmengine.device import get_device

__all__ = ['connect_cpu_processes']


def connect_cpu_processes(cfg: Config) -> None:
    """Let processes that ``torch.distributed.run`` started work on CPUs.

    mmengine gives each process the GPU of its number, and stumbles where there is
    none. So the processes are connected here, through gloo, before mmengine looks,
    and the model is wrapped without a device number. With GPUs, with one process, or
    with another launcher, nothing is done.

    Args:
        cfg: The config, with its ``launcher``; ``model_wrapper_cfg`` is changed.
    """
    if cfg.launcher != 'pytorch' or get_device() != 'cpu':
        return
    cfg.model_wrapper_cfg = {
        'type': 'MMDistributedDataParallel',
        'broadcast_buffers': False,
        'find_unused_parameters': cfg.get('find_unused_parameters', False),
        **(cfg.get('model_wrapper_cfg') or {}),
        'device_ids': None,
    }
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group('gloo')
        # Threads of gloo that still run when the interpreter goes down abort it.
        atexit.register(_disconnect)


def _disconnect() -> None:
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()

"""Freed memory that is used again instead of given back and asked for anew.

glibc asks the system for each block of more than 32 MiB, and gives it back when it is
freed. Features of clips are such blocks: on a CPU each layer's output then costs the
time in which its pages are found and cleared, several times that of a pass over it. A
training has the same sizes in each step, so what it freed is what it needs next.
"""
import ctypes
import platform

__all__ = ['keep_freed_memory']

# Parameters of mallopt, from malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_NEVER = -1


def keep_freed_memory() -> bool:
    """Have this process keep memory that it frees, up to its largest use.

    It holds for the process and all that is allocated in it, Python, numpy and torch
    alike, to its end. The most that is held at a time grows where sizes change from
    step to step: freed pieces are then used again only where they fit.

    Returns:
        Whether the system's allocator can do so: glibc's can.
    """
    if platform.libc_ver()[0] != 'glibc':
        return False
    mallopt = ctypes.CDLL(None).mallopt
    # No block is asked for by itself, and none is given back at the end of the heap.
    return bool(mallopt(_MMAP_MAX, 0) and mallopt(_TRIM_THRESHOLD, _NEVER))

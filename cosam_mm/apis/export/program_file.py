"""A traced model as a file of ``torch.export``, and that file run by PyTorch alone."""
from pathlib import Path
from typing import Callable

import numpy as np
import torch
from torch.export import ExportedProgram

from .contract import METADATA_NAME

__all__ = ['SUFFIX', 'open_file', 'write_file']

SUFFIX = '.pt2'


def write_file(program: ExportedProgram, path: Path, metadata: str) -> None:
    """Write a program with a text as its extra file."""
    torch.export.save(program, str(path), extra_files={METADATA_NAME: metadata})


def open_file(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Read a program: input array to output array."""
    module = torch.export.load(str(path)).module()

    def run(array: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return module(torch.from_numpy(array)).numpy()
    return run

"""What a model computes, recorded for any number of clips."""
import contextlib
import logging
import warnings
from collections.abc import Iterator

import torch
from torch.export import Dim, ExportedProgram

from .deployable import DeployableModel

__all__ = ['quiet', 'trace']


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without what torch's exporters say to their own developers."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        logging.disable(before)


def trace(model: DeployableModel, batch_size: int) -> ExportedProgram:
    """Record a model as a program of one input, whose first axis is open.

    Args:
        model: What to record.
        batch_size: Clips of the example, at least 2; torch takes 1 for a constant.
    """
    pixels = torch.zeros(batch_size, *model.clip_shape, dtype=torch.uint8)
    with quiet(), torch.no_grad():
        program = torch.export.export(
            model, (model.frames_of(pixels),),
            dynamic_shapes=({0: Dim('N', min=1)},), strict=False)
    program.example_inputs = None  # they would be stored, and clips are large
    for node in program.graph.nodes:
        node.meta.pop('stack_trace', None)  # names the folders of this machine
    return program

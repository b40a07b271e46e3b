"""A traced model as an ONNX file, and that file run by ONNX Runtime."""
import importlib.util
from pathlib import Path
from typing import Callable, Optional

import numpy as np
import torch
from torch.export import ExportedProgram

from .contract import METADATA_NAME
from .tracing import quiet

__all__ = ['SUFFIX', 'check_available', 'open_file', 'write_file']

SUFFIX = '.onnx'
MIN_OPSET = 18  # that of torch's own translations; below, they would be converted
_PACKAGES = ('onnx', 'onnxscript', 'onnxruntime')


def check_available(opset: Optional[int] = None) -> None:
    """Make sure that ONNX files can be written here, and in this version.

    Raises:
        ValueError: A package is missing, or there is no such opset.
    """
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(
            f'ONNX files need {", ".join(_PACKAGES)}; missing: {", ".join(missing)}. '
            "Install them with \"pip install 'cosam_mm[deploy]'\", or export with "
            '--format program, which needs torch alone.')
    if opset is None:
        return
    import onnx
    newest = onnx.defs.onnx_opset_version()
    if not MIN_OPSET <= opset <= newest:
        raise ValueError(f'opset must be from {MIN_OPSET} to {newest}, got {opset}.')


def write_file(program: ExportedProgram, path: Path, contract: dict, metadata: str,
               opset: Optional[int] = None, external_data: bool = False) -> None:
    """Write a program as ONNX.

    Args:
        program: With one input and one output, of which axis 0 is open.
        path: The file. Weights of more than 1.5 GiB go into ``<path>.data`` beside
            it, for an ONNX file must stay below 2 GB.
        contract: Names input and output.
        metadata: Text to store in the file.
        opset: Version of ONNX's operators; default: torch's choice.
        external_data: Whether weights go into ``<path>.data`` whatever their size.

    Raises:
        RuntimeError: The operators do not exist in that opset, or onnxscript is too
            old for torch.
    """
    names = [contract[part]['name'] for part in ('input', 'output')]
    with quiet():
        try:
            model = torch.onnx.export(
                program, dynamo=True, verbose=False, opset_version=opset,
                input_names=names[:1], output_names=names[1:],
                dynamic_shapes=({0: 'N'},), external_data=external_data)
        except ModuleNotFoundError as error:  # of a part that this torch looks for
            raise RuntimeError(
                f'The installed onnxscript does not go with torch {torch.__version__} '
                f'({error}): pip install -U onnxscript.') from error
        written = model.model.opset_imports['']
        if opset is not None and written != opset:
            raise RuntimeError(f'This model cannot be written in opset {opset}, only '
                               f'in opset {written}.')
        model.model.metadata_props[METADATA_NAME] = metadata
        model.save(str(path), external_data=external_data)


def open_file(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Read an ONNX file for ONNX Runtime, on the CPU: input array to output array.

    Raises:
        RuntimeError: ONNX Runtime does not take the file.
    """
    import onnxruntime
    try:
        session = onnxruntime.InferenceSession(
            str(path), providers=['CPUExecutionProvider'])
    except Exception as error:  # of its C++ side, with no class of their own
        reason = str(error).splitlines()[0]
        raise RuntimeError(
            f'ONNX Runtime {onnxruntime.__version__} does not take the file '
            f'({reason}): another --opset, or another version of onnxruntime, may '
            'help.') from error
    name = session.get_inputs()[0].name
    return lambda array: session.run(None, {name: array})[0]

"""Trained models as files that run without this package.

    deployable      checkpoint -> a module of frames to output, and its contract
    contract        what a file takes and gives, in words and numbers
    tracing         such a module -> a recorded program
    onnx_file       the program as an ONNX file
    program_file    the program as a file of torch.export
    export          all in turn: trace, write, check against PyTorch, keep

``tools/deployment/export.py`` is the command line. The ONNX packages are imported when
they are used.
"""
from .contract import METADATA_NAME, contract_lines
from .deployable import DeployableModel, load_deployable
from .export_model import (
    FORMATS,
    ExportedFile,
    check_exportable,
    export_model,
    relative_error,
)

__all__ = [
    'FORMATS',
    'METADATA_NAME',
    'DeployableModel',
    'ExportedFile',
    'check_exportable',
    'contract_lines',
    'export_model',
    'load_deployable',
    'relative_error',
]

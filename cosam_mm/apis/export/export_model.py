"""From a deployable model to files that were checked against PyTorch.

Files are written into a folder beside their place, read back from there, compared with
the model, and moved when all of them agree. So a file that is there is a good one.
"""
import json
import os
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Callable, NamedTuple, Optional, Union

import numpy as np
import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.nn import functional as F

from cosam_mm.utils.progress import progress_bar

from . import onnx_file, program_file
from .deployable import DeployableModel
from .tracing import trace

__all__ = ['FORMATS', 'ExportedFile', 'check_exportable', 'export_model',
           'relative_error']

FORMATS = dict(onnx=onnx_file.SUFFIX, program=program_file.SUFFIX)
Run = Callable[[np.ndarray], np.ndarray]


class ExportedFile(NamedTuple):
    """A file that was checked.

    Attributes:
        path: The file.
        companions: Files that belong to it: the contract, and weights if they are
            apart.
        num_bytes: Of the file and its weights.
        max_relative_error: The largest one seen; see :func:`relative_error`.
    """
    path: Path
    companions: tuple[Path, ...]
    num_bytes: int
    max_relative_error: float


def check_exportable(out: Union[str, Path], formats: Sequence[str],
                     opset: Optional[int] = None, overwrite: bool = False) -> None:
    """Look for what would stop an export, before a model is loaded.

    Args:
        out: Path of the files without their suffix.
        formats: Of :data:`FORMATS`.
        opset: For ONNX.
        overwrite: Whether files of these names may be replaced.

    Raises:
        ValueError: A format, an opset or a package does not exist here, or a file is
            in the way.
    """
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        raise ValueError(f'Formats are {", ".join(FORMATS)}, got {list(formats)}.')
    if opset is not None and 'onnx' not in formats:
        raise ValueError('The opset is a version of ONNX: it does not go with the '
                         'format program.')
    if 'onnx' in formats:
        onnx_file.check_available(opset)
    _check_folder(Path(out))
    for name in formats:
        for suffix in ('', '.json', '.data'):
            path = _with_suffix(out, FORMATS[name] + suffix)
            if path.is_dir():
                raise ValueError(f'{path} is a folder, which no file can replace.')
            if path.exists() and not overwrite:
                raise ValueError(f'{path} exists; --overwrite (overwrite=True) '
                                 'replaces it.')


def export_model(model: DeployableModel, out: Union[str, Path],
                 formats: Sequence[str] = ('onnx',), opset: Optional[int] = None,
                 batch_size: int = 2, tolerance: float = 1e-4,
                 external_data: bool = False, overwrite: bool = False
                 ) -> list[ExportedFile]:
    """Write a model in one or more formats; all files are kept, or none.

    Args:
        model: From :func:`load_deployable`.
        out: Path of the files without their suffix; its folder is made if need be.
        formats: Of :data:`FORMATS`.
        opset: Version of ONNX's operators; default: torch's choice.
        batch_size: Clips of the larger batch that files are checked with. The other
            is 1, and the model is traced with a third size.
        tolerance: Largest relative error that a file may have.
        external_data: Whether the weights of an ONNX file go into a file beside it.
            Weights of more than 1.5 GiB do in any case.
        overwrite: Whether files of these names may be replaced.

    Raises:
        ValueError: See :func:`check_exportable`; ``batch_size`` is below 2; or the
            model gives NaN or infinity.
        RuntimeError: A file is not the model: its error is above the tolerance.
    """
    check_exportable(out, formats, opset, overwrite)
    if batch_size < 2:
        raise ValueError(f'batch_size must be at least 2, got {batch_size}: the other '
                         'batch of the check is 1.')
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        bar = stack.enter_context(progress_bar(
            what='exporting', total=2 + 2 * len(formats), leave=False))
        program = trace(model, batch_size + 1)
        bar.update()
        folder = stack.enter_context(
            tempfile.TemporaryDirectory(prefix='.export-', dir=out.parent))
        staged = [_with_suffix(Path(folder) / out.name, FORMATS[name])
                  for name in formats]
        for name, path in zip(formats, staged):
            _write(name, model, program, path, opset, external_data)
            bar.update()
        del program
        samples = _samples(model, (1, batch_size))
        bar.update()
        errors = []
        for path in staged:
            errors.append(_checked(path, samples, tolerance))
            bar.update()
        for name, path, error in zip(formats, staged, errors):
            _write_sidecar(name, model, path, error, tolerance, (1, batch_size))
        return [_keep(path, out.parent, error)
                for path, error in zip(staged, errors)]


def _check_folder(out: Path) -> None:
    if out.is_dir():
        raise ValueError(f'{out} is a folder: name the files in it, without suffix.')
    folder = next(parent for parent in out.absolute().parents if parent.exists())
    if not (folder.is_dir() and os.access(folder, os.W_OK)):
        raise ValueError(f'{out} cannot be written: {folder} is no folder that you '
                         'may write to.')


def _with_suffix(path: Union[str, Path], suffix: str) -> Path:
    """The path with a suffix after all of its name: ``v1.2`` is no suffix."""
    path = Path(path)
    return path.with_name(path.name + suffix)


# -- writing -----------------------------------------------------------------


def _write(name: str, model: DeployableModel, program: ExportedProgram, path: Path,
           opset: Optional[int], external_data: bool) -> None:
    metadata = json.dumps(model.contract)
    if name == 'onnx':
        onnx_file.write_file(program, path, model.contract, metadata, opset,
                             external_data)
    else:
        program_file.write_file(program, path, metadata)


def _write_sidecar(name: str, model: DeployableModel, path: Path, error: float,
                   tolerance: float, batch_sizes: Sequence[int]) -> None:
    content = dict(
        model.contract, file=path.name, format=name,
        check=dict(max_relative_error=error, tolerance=tolerance,
                   batch_sizes=list(batch_sizes)))
    _with_suffix(path, '.json').write_text(
        json.dumps(content, indent=2) + '\n', encoding='utf-8')


def _keep(path: Path, folder: Path, error: float) -> ExportedFile:
    """Move a file and what belongs to it, itself last."""
    target = folder / path.name
    for name in (path.name, f'{path.name}.data'):  # of an earlier export
        (folder / name).unlink(missing_ok=True)
    beside = sorted(other for other in path.parent.iterdir()
                    if other.name in (f'{path.name}.data', f'{path.name}.json'))
    num_bytes = sum(file.stat().st_size for file in (path, *beside)
                    if file.suffix != '.json')
    for file in (*beside, path):
        os.replace(file, folder / file.name)
    return ExportedFile(target, tuple(folder / file.name for file in beside), num_bytes,
                        error)


# -- checking ----------------------------------------------------------------


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest error of a row, in units of the row's largest entry.

    An entry near zero says nothing by its own relative error: it is what is left of
    sums of large terms. What decides on a class or a distance is the error beside the
    largest entries of the same clip.

    Args:
        found: (N, D).
        expected: (N, D), finite.

    Returns:
        max over n of ``max_d |found - expected| / max_d |expected|``; NaN if an entry
        of ``found`` is.

    Raises:
        ValueError: The shapes differ.

    Example:
        >>> relative_error(np.array([[1.0, 1e-9]]), np.array([[1.0, 2e-9]]))
        1e-09
    """
    if found.shape != expected.shape:
        raise ValueError(f'The file gives an output of shape {found.shape}, the model '
                         f'one of {expected.shape}.')
    difference = np.abs(found.astype(np.float64) - expected).max(axis=1)
    scale = np.abs(expected.astype(np.float64)).max(axis=1)
    with np.errstate(divide='ignore', invalid='ignore'):
        ratio = np.where(difference == 0, 0.0, difference / scale)
    return float(ratio.max())


def _random_pixels(clip_shape: Sequence[int], batch_size: int) -> Tensor:
    """(N, C, T, H, W) uint8: clips that differ in colours and move, not plain noise.

    Noise without structure looks the same to a network whatever the draw, and a file
    that mixes up its clips would pass.
    """
    generator = torch.Generator()
    generator.seed()
    channels, *volume = clip_shape
    coarse = [max(length // 8, 1) for length in volume]
    clips = torch.rand(batch_size, channels, *coarse, generator=generator)
    clips = F.interpolate(clips, size=volume, mode='trilinear')
    return (clips * 255).round().to(torch.uint8)


def _samples(model: DeployableModel, batch_sizes: Sequence[int]
             ) -> list[tuple[np.ndarray, np.ndarray]]:
    """Random input as the contract wants it, with the output that tests would give."""
    samples = []
    for batch_size in batch_sizes:
        pixels = _random_pixels(model.clip_shape, batch_size)
        with torch.no_grad():
            expected = model.reference(pixels).numpy()
        if not np.isfinite(expected).all():
            raise ValueError(
                f'The model of {model.contract["checkpoint"]} gives NaN or infinity: '
                'its weights are of no use.')
        shape = (batch_size, *model.contract['output']['shape'][1:])
        if expected.shape != shape:
            raise ValueError(f'The model says that its output is {shape}, and gives '
                             f'{expected.shape}.')
        samples.append((model.frames_of(pixels).numpy(), expected))
    return samples


def _checked(path: Path, samples: Sequence[tuple[np.ndarray, np.ndarray]],
             tolerance: float) -> float:
    """The error of a file, read back from disk."""
    run: Run = (onnx_file if path.suffix == onnx_file.SUFFIX else program_file
                ).open_file(path)
    error = max(relative_error(run(frames), expected) for frames, expected in samples)
    if not error <= tolerance:  # NaN is not
        raise RuntimeError(
            f'{path.name} differs from the model by {error:.1e} (relative), more than '
            f'the tolerance of {tolerance:.1e}: no file was kept.')
    return error

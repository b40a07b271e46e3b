"""Trained models as files that run without this package.

A file is an ONNX file or a program of ``torch.export``. It is written into a folder
beside its target, read back from there, compared with the model, and moved when all
files agree: so a file that has its name is a good one. It carries the contract of its
:class:`~.deployable.DeployableModel` as JSON under :data:`METADATA_NAME`, and has it
beside it in ``<file>.json``. ``tools/deployment/export.py`` is the command line. The
ONNX packages are imported when they are used.
"""
import contextlib
import importlib.util
import json
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Callable, NamedTuple, Optional

import numpy as np
import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram
from torch.nn import functional as F

from cosam_mm.utils.io import check_destination, write_text
from cosam_mm.utils.messages import one_line
from cosam_mm.utils.progress import progress_bar

from .deployable import DeployableModel
from .model_loading import PathLike

__all__ = ['FORMATS', 'METADATA_NAME', 'ExportedFile', 'check_exportable',
           'export_model', 'relative_error']

FORMATS = dict(onnx='.onnx', program='.pt2')  # name -> suffix
METADATA_NAME = 'cosam_mm.json'
_ONNX_PACKAGES = ('onnx', 'onnxscript', 'onnxruntime')
_MIN_OPSET = 18  # that of torch's own translations; below, they would be converted


class ExportedFile(NamedTuple):
    """A file that was checked."""
    path: Path
    companions: tuple[Path, ...]  # its contract, and weights if they are apart
    num_bytes: int  # of the file and its weights
    max_relative_error: float  # the largest one seen; see :func:`relative_error`


def check_exportable(out: PathLike, formats: Sequence[str],
                     opset: Optional[int] = None, overwrite: bool = False) -> None:
    """Look for what would stop :func:`export_model`, before a model is loaded.

    Raises:
        FileExistsError: A file or a folder is in the way.
        ValueError: A format, an opset or a package does not exist here, or the folder
            cannot be written to.
    """
    if not formats or not set(formats) <= set(FORMATS):
        raise ValueError(f'Formats are {", ".join(FORMATS)}, got {list(formats)}.')
    if opset is not None and 'onnx' not in formats:
        raise ValueError('The opset is a version of ONNX: it does not go with the '
                         'format program.')
    if 'onnx' in formats:
        _check_onnx(opset)
    if Path(out).is_dir():
        raise FileExistsError(f'{out} is a folder: name the files in it, without '
                              'suffix.')
    for name in formats:
        for suffix in ('', '.json', '.data'):
            check_destination(f'{Path(out)}{FORMATS[name]}{suffix}', overwrite)


def _check_onnx(opset: Optional[int]) -> None:
    missing = [name for name in _ONNX_PACKAGES
               if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(
            f'ONNX files need {", ".join(_ONNX_PACKAGES)}; missing: '
            f"{', '.join(missing)}. Install them with \"pip install "
            "'cosam_mm[deploy]'\", or export with --format program, which needs torch "
            'alone.')
    if opset is None:
        return
    import onnx
    newest = onnx.defs.onnx_opset_version()
    if not _MIN_OPSET <= opset <= newest:
        raise ValueError(f'opset must be from {_MIN_OPSET} to {newest}, got {opset}.')


def export_model(model: DeployableModel, out: PathLike,
                 formats: Sequence[str] = ('onnx',), opset: Optional[int] = None,
                 batch_size: int = 2, tolerance: float = 1e-4,
                 external_data: bool = False, overwrite: bool = False,
                 dynamic_frames: bool = False) -> list[ExportedFile]:
    """Write a model in one or more formats; all files are kept, or none.

    Args:
        model: From :func:`load_deployable`.
        out: Path of the files without their suffix; its folder is made if need be.
        formats: Of :data:`FORMATS`.
        opset: Version of ONNX's operators; default: torch's choice.
        batch_size: Clips of the larger batch that files are checked with. The other
            is 1, and the model is traced with a third size.
        tolerance: Largest relative error that a file may have.
        external_data: Whether the weights of an ONNX file go into ``<file>.data``
            beside it. Weights of more than 1.5 GiB do in any case.
        overwrite: Whether files of these names may be replaced.
        dynamic_frames: Whether clips may have any number T of frames. The files are
            checked with the model's own T, and with one and a half and two times it.

    Raises:
        FileExistsError: See :func:`check_exportable`.
        ValueError: See there; ``batch_size`` is below 2; the model gives NaN or
            infinity; or it has parts for one T alone.
        RuntimeError: A file is not the model: its error is above the tolerance.
    """
    check_exportable(out, formats, opset, overwrite)
    if batch_size < 2:
        raise ValueError(f'batch_size must be at least 2, got {batch_size}: the other '
                         'batch of the check is 1.')
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    bar = progress_bar(what='exporting', total=1 + len(formats), leave=False)
    with bar, tempfile.TemporaryDirectory(
            prefix='.export-', dir=out.parent) as folder:
        samples = [_sample(model, size) for size in (1, batch_size)]
        if dynamic_frames:
            samples += _longer_samples(model)
        program = _trace(model, batch_size + 1, dynamic_frames)
        bar.update()
        contract, errors = _contract_of(model, dynamic_frames), {}
        for name in formats:
            path = Path(folder, f'{out.name}{FORMATS[name]}')
            _write(program, path, contract, opset, external_data)
            errors[path] = _check(path, samples, tolerance)
            check = dict(max_relative_error=errors[path], tolerance=tolerance,
                         batch_sizes=[1, batch_size], shapes=[
                             list(frames.shape) for frames, _ in samples])
            content = dict(contract, file=path.name, format=name, check=check)
            write_text(f'{path}.json', json.dumps(content, indent=2) + '\n')
            bar.update()
        return [_keep(path, out.parent, error) for path, error in errors.items()]


def _contract_of(model: DeployableModel, dynamic_frames: bool) -> dict:
    """The model's contract, with T in the shape where it is open."""
    given = dict(model.contract['input'])
    if dynamic_frames:
        given['shape'] = [axis if axis == 'T' else size
                          for axis, size in zip(model.layout, given['shape'])]
    return dict(model.contract, input=given)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch's exporters say to their own developers."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        logging.disable(before)


def _longer_samples(model: DeployableModel) -> list[tuple[np.ndarray, np.ndarray]]:
    """Samples of one and a half and of two times the frames."""
    channels, frames, *size = model.clip_shape
    try:
        return [_sample(model, 1, (channels, frames * share // 2, *size))
                for share in (3, 4)]
    except ValueError as error:
        raise ValueError(f'This model takes clips of {frames} frames alone, so '
                         f'dynamic frames do not go with it: {error}') from None


def _trace(model: DeployableModel, batch_size: int, dynamic_frames: bool
           ) -> ExportedProgram:
    """Record a model as a program of one input, whose first axis is open.

    The example has ``batch_size`` clips, at least 2: torch takes 1 for a constant.
    """
    (channels, frames, *size), axes = model.clip_shape, {0: Dim('N', min=1)}
    if dynamic_frames:  # strides divide them, and 1 is a constant for torch here, too
        frames, axes[model.layout.index('T')] = 3 * frames, Dim.AUTO
    pixels = torch.zeros(batch_size, channels, frames, *size, dtype=torch.uint8)
    with _quiet(), torch.no_grad():
        program = torch.export.export(
            model, (model.frames_of(pixels),), dynamic_shapes=(axes,), strict=False)
    (given,) = (node.meta['val'] for node in program.graph.nodes
                if node.name == program.graph_signature.user_inputs[0])
    if dynamic_frames and isinstance(given.shape[model.layout.index('T')], int):
        raise ValueError(
            'This model cannot be recorded for any number of frames: one of its parts, '
            'as an LSTM, is unrolled for one. Leave dynamic frames out.')
    program.example_inputs = None  # they would be stored, and clips are large
    for node in program.graph.nodes:
        node.meta.pop('stack_trace', None)  # names the folders of this machine
    return program


def _write(program: ExportedProgram, path: Path, contract: dict, opset: Optional[int],
           external_data: bool) -> None:
    """Write a program with one input and one output, of which axis 0 is open."""
    metadata = json.dumps(contract)
    if path.suffix == FORMATS['program']:
        torch.export.save(program, str(path), extra_files={METADATA_NAME: metadata})
        return
    names = [contract[part]['name'] for part in ('input', 'output')]
    axes = {axis: size for axis, size in enumerate(contract['input']['shape'])
            if isinstance(size, str)}
    with _quiet():
        try:
            model = torch.onnx.export(
                program, dynamo=True, verbose=False, opset_version=opset,
                input_names=names[:1], output_names=names[1:],
                dynamic_shapes=(axes,), external_data=external_data)
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


def _keep(path: Path, folder: Path, error: float) -> ExportedFile:
    """Move a file and what belongs to it, itself last."""
    for name in (path.name, f'{path.name}.data'):  # of an earlier export
        (folder / name).unlink(missing_ok=True)
    beside = sorted(other for other in path.parent.iterdir()
                    if other.name in (f'{path.name}.data', f'{path.name}.json'))
    num_bytes = sum(file.stat().st_size for file in (path, *beside)
                    if file.suffix != '.json')
    for file in (*beside, path):
        os.replace(file, folder / file.name)
    companions = tuple(folder / file.name for file in beside)
    return ExportedFile(folder / path.name, companions, num_bytes, error)


def relative_error(output: np.ndarray, expected: np.ndarray) -> float:
    """The largest error of a row, in units of the row's largest entry.

    An entry near zero says nothing by its own relative error: it is what is left of
    sums of large terms. What decides on a class or a distance is the error beside the
    largest entries of the same clip.

    Args:
        output: (N, D).
        expected: (N, D), finite.

    Returns:
        max over n of ``max_d |output - expected| / max_d |expected|``; NaN if an entry
        of ``output`` is.

    Example:
        >>> relative_error(np.array([[1.0, 1e-9]]), np.array([[1.0, 2e-9]]))
        1e-09
    """
    if output.shape != expected.shape:
        raise ValueError(f'The file gives an output of shape {output.shape}, the model '
                         f'one of {expected.shape}.')
    difference = np.abs(output.astype(np.float64) - expected).max(axis=1)
    scale = np.abs(expected.astype(np.float64)).max(axis=1)
    with np.errstate(divide='ignore', invalid='ignore'):
        ratio = np.where(difference == 0, 0.0, difference / scale)
    return float(ratio.max())


def _random_pixels(clip_shape: Sequence[int], batch_size: int) -> Tensor:
    """(N, C, T, H, W) uint8: clips that differ in colours and move, not plain noise.

    Every clip of plain noise looks the same to a network, and a file that mixes up its
    clips would pass.
    """
    generator = torch.Generator()
    generator.seed()
    channels, *volume = clip_shape
    coarse = [max(length // 8, 1) for length in volume]
    clips = torch.rand(batch_size, channels, *coarse, generator=generator)
    clips = F.interpolate(clips, size=volume, mode='trilinear')
    return (clips * 255).round().to(torch.uint8)


def _sample(model: DeployableModel, batch_size: int,
            clip_shape: Optional[Sequence[int]] = None
            ) -> tuple[np.ndarray, np.ndarray]:
    """Random input as the contract wants it, with the output that tests would give."""
    pixels = _random_pixels(clip_shape or model.clip_shape, batch_size)
    with torch.no_grad():
        expected = model.reference(pixels).numpy()
    if not np.isfinite(expected).all():
        raise ValueError(f'The model of {model.contract["checkpoint"]} gives NaN or '
                         'infinity: its weights are of no use.')
    shape = (batch_size, *model.contract['output']['shape'][1:])
    if expected.shape != shape:
        raise ValueError(f'The model says that its output is {shape}, and gives '
                         f'{expected.shape}.')
    return model.frames_of(pixels).numpy(), expected


def _check(path: Path, samples: Sequence[tuple[np.ndarray, np.ndarray]],
           tolerance: float) -> float:
    """The error of a file, read back from disk."""
    run = _open_onnx(path) if path.suffix == FORMATS['onnx'] else _open_program(path)
    try:
        outputs = [run(frames) for frames, _ in samples]
    except Exception as error:  # of ONNX Runtime's C++ side, and of torch's guards
        raise RuntimeError(
            f'{path.name} does not run on clips that the model takes '
            f'({one_line(error)}): no file was kept.') from error
    error = max(relative_error(output, expected)
                for output, (_, expected) in zip(outputs, samples))
    if not error <= tolerance:  # NaN is not
        raise RuntimeError(
            f'{path.name} differs from the model by {error:.1e} (relative), more than '
            f'the tolerance of {tolerance:.1e}: no file was kept.')
    return error


def _open_onnx(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """An ONNX file in ONNX Runtime, on the CPU: input array to output array."""
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


def _open_program(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """A program in PyTorch: input array to output array."""
    module = torch.export.load(str(path)).module()

    def run(array: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return module(torch.from_numpy(array)).numpy()
    return run

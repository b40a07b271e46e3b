"""Named arrays in one file: written whole or not at all, read without running it.

Results that outlive a test (class scores, tracklet features) are kept this way.
"""
import os
import zipfile
import zlib

import numpy as np

__all__ = ['read_arrays', 'write_arrays']


def write_arrays(path: str, arrays: dict[str, np.ndarray],
                 compress: bool = True) -> None:
    """Write an .npz file; a reader meets the old one or the whole new one.

    Args:
        path: Ends in .npz; folders are made.
        arrays: What to write, none of it of dtype object.
        compress: Features of networks hardly shrink and take long: say False.
    """
    write = np.savez_compressed if compress else np.savez
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    partial = f'{path}.{os.getpid()}.partial'
    try:
        with open(partial, 'wb') as file:
            write(file, **arrays)
        os.replace(partial, path)
    finally:
        if os.path.exists(partial):
            os.remove(partial)


def read_arrays(path: str, kind: str) -> dict[str, np.ndarray]:
    """Read an .npz file; nothing in it is executed.

    Args:
        path: The file.
        kind: What it should be, for messages: 'score file'.

    Returns:
        Its arrays by name.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no .npz file, is damaged, or holds pickled objects.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f'The {kind} {path!r} does not exist. Write one with tools/test.py.')
    try:
        # np.load leaves a file open that it opened and found broken.
        with open(path, 'rb') as file, np.load(file, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except (ValueError, OSError, EOFError, AttributeError, TypeError,
            zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f'{path} is not a {kind}: {error}') from error

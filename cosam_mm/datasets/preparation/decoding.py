"""All frames of a video, in order, from whichever decoder reads it.

decord is the decoder that training uses, so it goes first. It refuses files with
broken metadata that OpenCV still reads, hence the second one. Both need an
absolute path: FFmpeg takes `a:b.avi` for a protocol.
"""
from collections.abc import Iterator
from pathlib import Path
from typing import Union

import numpy as np

PathLike = Union[str, Path]


class UnreadableVideoError(RuntimeError):
    """A decoder got no frame, or not all of them, out of a file."""


def frames_with_decord(path: PathLike) -> Iterator[np.ndarray]:
    """Yields the frames that decord decodes.

    Args:
        path: Video file.

    Yields:
        RGB frames, uint8, (H, W, 3).

    Raises:
        UnreadableVideoError: decord is absent, refuses the file or stops in it.
    """
    try:
        import decord
        reader = decord.VideoReader(str(Path(path).absolute()), num_threads=1)
        for k in range(len(reader)):
            yield reader[k].asnumpy()
    except Exception as error:  # decord raises bare Exception subclasses
        raise UnreadableVideoError(f'decord: {_one_line(error)}') from None


def frames_with_opencv(path: PathLike) -> Iterator[np.ndarray]:
    """Yields the frames that OpenCV decodes, up to the first that it cannot.

    Args:
        path: Video file.

    Yields:
        RGB frames, uint8, (H, W, 3).

    Raises:
        UnreadableVideoError: OpenCV cannot open the file or finds no frame in it.
    """
    import cv2
    capture = cv2.VideoCapture()
    try:
        # The backend is named, or OpenCV would try '%' in a name as a pattern.
        capture.open(str(Path(path).absolute()), cv2.CAP_FFMPEG)
        success, frame = capture.read()
        if not success:
            raise UnreadableVideoError('OpenCV: no frame can be read')
        while success:
            yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
            success, frame = capture.read()
    except (cv2.error, UnicodeError) as error:
        raise UnreadableVideoError(f'OpenCV: {_one_line(error)}') from None
    finally:
        capture.release()


READERS = (frames_with_decord, frames_with_opencv)


def _one_line(error: Exception) -> str:
    return ' '.join(str(error).split()) or type(error).__name__

"""A film with the names of its actions written into the frames."""
from bisect import bisect
from collections.abc import Iterator, Sequence

import numpy as np

from cosam_mm.apis.action_windows import ActionEvent
from cosam_mm.apis.model_loading import PathLike
from cosam_mm.datasets.frame_stream import FilmFrames
from cosam_mm.utils.io import writing
from cosam_mm.utils.progress import progress_bar

from .canvas import Canvas, shorten
from .video_writer import write_mp4

__all__ = ['label_frame', 'write_action_overlay']

_X264 = {'crf': '20', 'preset': 'fast'}


def label_frame(frame: np.ndarray, text: str) -> np.ndarray:
    """A frame (H, W, 3), uint8, RGB, with a line of text in a band at its top."""
    height, width = frame.shape[:2]
    size = max(height // 18, 8)
    canvas = Canvas(height, width)
    canvas.paste(frame, 0, 0)
    canvas.fill(0, 0, (min(2 * size, height), width), 'black')
    canvas.text(size, size, shorten(text, width - 2 * size, size, True), size, True,
                'white', 'lm')
    return canvas.array()


def write_action_overlay(path: PathLike, film: FilmFrames,
                         events: Sequence[ActionEvent]) -> None:
    """Write a film again as MP4, with name and probability of the action at each time.

    Frames keep their times and their size; odd sides grow by one pixel. There is no
    sound.
    """
    starts = [one.start for one in events]

    def labelled() -> Iterator[tuple[float, np.ndarray]]:
        total = round(film.duration * film.fps) or None
        for frame in progress_bar(film, 'overlay', 'frame', total):
            event = events[max(bisect(starts, frame.time) - 1, 0)]
            text = f'{event.name} {event.probability:.0%}' \
                if event.start <= frame.time < event.end else ''
            yield frame.time, label_frame(frame.rgb(), text) if text else frame.rgb()

    with writing(path) as partial:
        write_mp4(partial, labelled(), film.fps or 25., _X264)

"""Long videos, window by window: cutting, smoothing, joining, files of events."""
import csv
import dataclasses
import io
import math
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, Callable, NamedTuple

import numpy as np

from cosam_mm.datasets.frame_stream import TimedFrame
from cosam_mm.utils.io import write_text

from .model_loading import PathLike
from .video_input import MemoryReader

__all__ = ['EVENT_FILES', 'ActionEvent', 'WindowPrediction', 'WindowReader', 'clock',
           'cut_windows', 'join_events', 'smooth_scores', 'write_events']

EVENT_FILES = ('.csv', '.srt')
# Containers round times to milliseconds.
_SLACK_SECONDS = 1e-3


class WindowPrediction(NamedTuple):
    """The prediction for a part of a video, of frames from ``start`` up to ``end``."""
    start: float  # seconds from the start of the video
    end: float
    prediction: Any  # ActionPrediction


class WindowReader(MemoryReader):
    """Frames of a window, which become pixels when they are asked for."""

    def __init__(self, frames: Sequence[TimedFrame], fps: float) -> None:
        self._frames, self._fps = frames, fps

    def get_avg_fps(self) -> float:
        """Frames a second, 0 where it is not known."""
        return self._fps

    def get_batch(self, indices: Sequence[int]) -> np.ndarray:
        """Frames by number (n, H, W, C)."""
        images = {index: self._frames[index].rgb() for index in set(indices)}
        return MemoryReader([images[index] for index in indices]).get_batch(
            range(len(indices)))


class ActionEvent(NamedTuple):
    """A stretch of a video whose windows have one class in front."""
    start: float  # seconds
    end: float
    label: int
    name: str
    probability: float  # mean over its windows


def cut_windows(frames: Iterable[TimedFrame], window: float, stride: float
                ) -> Iterator[tuple[float, float, list[TimedFrame]]]:
    """(start, end, frames) of windows that begin every ``stride`` seconds.

    The last window ends with the video and begins so much earlier: it is as long as
    the others, unless the video is shorter. After a gap windows begin anew. A window
    without a frame is left out. At most the frames of one window are held.
    """
    held, origin, number, covered = deque(), 0., 0, -math.inf
    for frame in frames:
        if frame.after_gap:
            held.clear()
            origin, number = frame.time, 0
        while frame.time >= (end := origin + number * stride + window) - _SLACK_SECONDS:
            if chosen := _from(held, end - window):
                yield end - window, end, chosen
                covered, number = chosen[-1].time, number + 1
            else:  # frames pause, perhaps for long
                number = max(number + 1, int((frame.time - end) // stride) + number)
        held.append(frame)
        first = min(origin + number * stride, frame.time - window) - _SLACK_SECONDS
        while held[0].time < first:
            held.popleft()
    if not held or held[-1].time < origin + number * stride - _SLACK_SECONDS:
        return
    if held[-1].time > covered:
        end = held[-1].time + (held[-1].time - held[-2].time if len(held) > 1 else 0.)
        start = max(end - window, origin)
        yield start, end, _from(held, start)


def _from(held: Iterable[TimedFrame], start: float) -> list[TimedFrame]:
    return [frame for frame in held if frame.time >= start - _SLACK_SECONDS]


def smooth_scores(windows: Iterable[WindowPrediction], count: int,
                  classes_of: Callable[[np.ndarray], list]
                  ) -> Iterator[WindowPrediction]:
    """Windows whose scores are the mean over ``count`` of them, half of them later.

    At both ends there are fewer. ``classes_of`` makes classes of a score (K,).
    """
    around, near = [None] * (count // 2), deque(maxlen=count)
    for one in chain(around, windows, around):
        near.append(one)
        if len(near) == count and (middle := near[count // 2]):
            score = np.mean([w.prediction.score for w in near if w], axis=0)
            yield middle._replace(prediction=dataclasses.replace(
                middle.prediction, score=score, classes=classes_of(score)))


def join_events(windows: Iterable[WindowPrediction]) -> Iterator[ActionEvent]:
    """Events in order, which do not overlap.

    Neighbours with the same class in front are one event. Where windows overlap, the
    border is the middle of what they share.
    """
    event, count = None, 0
    for start, end, prediction in windows:
        label, name, probability = prediction.classes[0]
        if event and label == event.label and start <= event.end + _SLACK_SECONDS:
            count += 1
            event = event._replace(end=end, probability=event.probability + (
                probability - event.probability) / count)
            continue
        if event and start < event.end:
            start = (start + event.end) / 2
            event = event._replace(end=start)
        if event:
            yield event
        event, count = ActionEvent(start, end, label, name, probability), 1
    if event:
        yield event


def clock(seconds: float) -> str:
    """Hours, minutes, seconds and thousandths.

    >>> clock(3723.5)
    '01:02:03.500'
    """
    minutes, thousandths = divmod(round(1000 * seconds), 60_000)
    return f'{minutes // 60:02}:{minutes % 60:02}:{thousandths / 1000:06.3f}'


def write_events(path: PathLike, events: Sequence[ActionEvent]) -> None:
    """Write events as ``.csv``, times in seconds, or as subtitles ``.srt``.

    SubRip's format: a number, both times with a comma before the thousandths, the text,
    an empty line (https://www.matroska.org/technical/subtitles.html#srt-subtitles).
    """
    if os.path.splitext(path)[1].lower() == '.srt':
        write_text(path, ''.join(
            f'{number}\n{clock(one.start)} --> {clock(one.end)}\n'.replace('.', ',')
            + f'{" ".join(one.name.split())} ({one.probability:.0%})\n\n'
            for number, one in enumerate(events, 1)))
        return
    text = io.StringIO()
    table = csv.writer(text, lineterminator='\n')
    table.writerow(ActionEvent._fields)
    table.writerows((f'{one.start:.3f}', f'{one.end:.3f}', one.label, one.name,
                     f'{one.probability:.4f}') for one in events)
    write_text(path, text.getvalue())

"""Clips out of video files: the shipped pipelines against MMAction2's decord pipeline.

Parts:

- ``time``: seconds of a training clip, ready for the batch, in one process;
- ``processor``: processor time of the same, all threads of the decoders together, of
  the process held to one core, as a worker among many is;
- ``first``: processor time where ours reads each file for the first time;
- ``pixels``: the largest difference in any value of a clip, against all frames decoded
  in order by decord, then by the same steps one after the other; and how many clips of
  the stock pipeline have that difference, too;
- ``workers``: a loader with 0, 1 and 2 workers, both pipelines, and how ours scales
  from one core to two workers;
- ``profile``: the steps that our pipeline spends its time in.

Stock is DecordInit, SampleFrames, DecordDecode, then Resize, MultiScaleCrop, Resize,
Flip, FormatShape and PackActionInputs. A clip is 64 frames with its own seed, so both
sides choose the same frames, crop and flip. Files are those below the folder of
``--videos``, at most 24, in which decord counts as many frames; without it some are
drawn: MPEG-4, 320 x 240, in AVI and MP4. Every file is read several times: it is in the
system's cache, and ours has counted its frames and noted where they are, as from the
second epoch on; ``first`` is without that. OpenCV and torch have one thread, as in the
workers of a loader. In ``time`` and ``workers`` either decodes in a thread of its own
where a core is free, stock always.
"""
import os
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

from benchmarks.harness import Options
from benchmarks.metrics import Metric, at_least, at_most
from projects.attention_study.measurement import (
    Summary,
    ratio_to_baseline,
    summarize,
    time_alternately,
)

__all__ = ['PARTS', 'run']

CONFIGS = Path(__file__).resolve().parents[2] / 'configs/_base_/datasets'
SIZES = (112, 224)
SUFFIXES = {'.avi', '.mp4', '.mkv', '.webm', '.mov'}
MOST_FILES = 24
# (name, codec, frames); HMDB51 has 30 to 1000 frames a file, UCF101 29 to 1776.
DRAWN = (('a.avi', 'XVID', 84), ('b.mp4', 'mp4v', 96), ('c.avi', 'XVID', 150),
         ('d.avi', 'XVID', 190), ('e.mp4', 'mp4v', 240), ('f.avi', 'XVID', 290))
TARGET = 2.0
# Two FFmpegs turn YUV into RGB, a resize carries that on.
MOST_LEVELS = 3


def run(options: Options) -> Iterator[Metric]:
    """Yield the metrics of the parts that were asked for."""
    import cosam_mm.datasets.transforms  # noqa: F401  registers, and needs MMAction2
    threads, torch_threads = cv2.getNumThreads(), torch.get_num_threads()
    cv2.setNumThreads(0)  # as workers are told by the shipped configs
    torch.set_num_threads(1)  # as loaders tell their workers
    try:
        with _videos(options) as files, \
                DefaultScope.overwrite_default_scope('mmaction'):
            for part in options.parts:
                yield from PARTS[part](_Setting(options, files))
    finally:
        cv2.setNumThreads(threads)
        torch.set_num_threads(torch_threads)


@contextmanager
def _videos(options: Options) -> Iterator[list[str]]:
    folder = options.videos
    if folder:
        files = sorted(str(path) for path in folder.rglob('*')
                       if path.suffix.lower() in SUFFIXES)
        if not files:
            raise SystemExit(f'--videos: there is no video of {sorted(SUFFIXES)} below '
                             f'{folder}')
        chosen = np.linspace(0, len(files) - 1, min(len(files), MOST_FILES))
        files = [files[int(k)] for k in chosen]
        files = [file for file in files if _is_comparable(file)]
        yield files[:2] if options.quick else files
        return
    with tempfile.TemporaryDirectory() as folder:
        rng = np.random.default_rng(options.seed)
        drawn = DRAWN[:2] if options.quick else DRAWN
        yield [_draw(Path(folder, name), codec, length, rng)
               for name, codec, length in drawn]


def _is_comparable(file: str) -> bool:
    """Whether decord opens it and finds as many frames, so that clips are the same."""
    from cosam_mm.datasets.video_reader import UnreadableVideo, VideoReader
    try:
        return len(VideoReader(file, backend='decord')) == len(VideoReader(file))
    except UnreadableVideo:
        return False


def _draw(path: Path, codec: str, num_frames: int, rng: np.random.Generator) -> str:
    """A view over a large picture that moves, with some noise of a camera."""
    picture = sum(
        cv2.resize(rng.normal(0, 24, (size, size, 3)).astype(np.float32), (640, 640))
        for size in (5, 20, 80, 320)) + 128
    noise = rng.normal(0, 3, (300, 400, 3)).astype(np.float32)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), 25, (320, 240))
    if not writer.isOpened():
        raise RuntimeError(f'OpenCV does not write {codec} to {path}.')
    for number in range(num_frames):
        x, y = (int(150 + 140 * f(number / 25)) for f in (np.cos, np.sin))
        dx, dy = rng.integers(0, 60, 2)
        frame = picture[y:y + 240, x:x + 320] + noise[dy:dy + 240, dx:dx + 320]
        writer.write(frame.clip(0, 255).astype(np.uint8))
    writer.release()
    return str(path)


@dataclass(frozen=True)
class _Setting:
    """What the parts read."""

    options: Options
    files: list

    def time(self, contenders: dict, **kwargs) -> dict:
        rounds = 1 if self.options.quick else None
        return time_alternately(contenders, self.options.seconds, rounds, **kwargs)

    def target(self, bound):
        return None if self.options.quick else bound

    def label(self, size: int) -> str:
        return f'{size} x {size}, {len(self.files)} files'

    def clips(self, size: int) -> dict:
        """Name -> data set of one clip a file."""
        return {name: Clips(steps, self.files, self.options.seed)
                for name, steps in _pipelines(size).items()}


def _pipelines(size: int) -> dict:
    """Training pipelines: ours, the stock one, and the oracle of the pixels."""
    ours = Config.fromfile(CONFIGS / f'rgb_{size}.py').train_pipeline
    opening, sampling, decoding, *rest = ours
    geometry = list(decoding['transforms'])
    return {
        'stock': [dict(type='DecordInit'), sampling, dict(type='DecordDecode'),
                  *geometry, *rest],
        'ours': ours,
        'in order': [opening, sampling, _decode_in_order, *geometry, *rest]}


def _decode_in_order(results: dict) -> dict:
    from cosam_mm.datasets.video_reader import VideoReader
    reader = VideoReader(results['filename'], backend='decord')
    imgs = reader.get_batch(results['frame_inds'])
    size = imgs.shape[1:3]
    results.update(imgs=list(imgs), original_shape=size, img_shape=size)
    return results


class Clips(torch.utils.data.Dataset):
    """One clip a file, always the same.

    Args:
        pipeline: Steps, the first of which takes ``filename``.
        files: Paths of videos.
        seed: Of the choices.
    """

    def __init__(self, pipeline: list, files: list, seed: int = 0) -> None:
        from mmengine.dataset import Compose
        self.pipeline = Compose(pipeline)
        self.files = files
        self.seed = seed

    def __len__(self) -> int:
        return len(self.files)

    def sample(self, index: int) -> dict:
        """The values that the pipeline starts from."""
        np.random.seed(self.seed + index)
        random.seed(self.seed + index)
        return dict(filename=self.files[index], start_index=0, modality='RGB', label=0,
                    sample_id=str(index))

    def __getitem__(self, index: int) -> torch.Tensor:
        # In one piece, as a batch needs it: (1, 3, T, H, W) uint8.
        return self.pipeline(self.sample(index))['inputs'].contiguous()

    def read_all(self) -> None:
        """All clips once."""
        for index in range(len(self)):
            self[index]


# -- the parts -------------------------------------------------------------------


@contextmanager
def _one_core() -> Iterator[None]:
    """Hold this process, and the threads it starts, to one core where that can be."""
    if not hasattr(os, 'sched_setaffinity'):
        yield
        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def _compared(setting: _Setting, part: str, what: str, clock,
              before=lambda: None) -> Iterator[Metric]:
    for size in SIZES:
        clips = setting.clips(size)

        def ours(clips=clips['ours']):
            before()
            clips.read_all()
        times = setting.time({'stock': clips['stock'].read_all, 'ours': ours},
                             clock=clock)
        target = setting.target(at_least(TARGET)) if part != 'first' else None
        yield Metric(part, f'stock / ours, {what}, {setting.label(size)}', 'times',
                     ratio_to_baseline(times, 'stock')['ours'], target, {
                         'clips': len(setting.files), 'baseline': 'stock',
                         'contender': 'ours',
                         'baseline_seconds': summarize(times['stock']).median,
                         'contender_seconds': summarize(times['ours']).median})


def _time(setting: _Setting) -> Iterator[Metric]:
    yield from _compared(setting, 'time', 'time', time.perf_counter)


def _processor(setting: _Setting) -> Iterator[Metric]:
    with _one_core():
        yield from _compared(
            setting, 'processor', 'processor time', time.process_time)


def _first(setting: _Setting) -> Iterator[Metric]:
    from cosam_mm.datasets.video_decoders import forget_files
    with _one_core():
        yield from _compared(setting, 'first', 'processor time, first reading',
                             time.process_time, forget_files)


def _exact(value: float) -> Summary:
    return Summary(value, value, value, 1)


def _pixels(setting: _Setting) -> Iterator[Metric]:
    for size in SIZES:
        clips = setting.clips(size)
        levels = {'ours': [], 'stock': []}
        for index in range(len(setting.files)):
            expected = clips['in order'][index].short()
            for name, found in levels.items():
                found.append(int((clips[name][index] - expected).abs().max()))
        for name, target in (('ours', at_most(MOST_LEVELS)), ('stock', None)):
            right = sum(level <= MOST_LEVELS for level in levels[name])
            yield Metric('pixels', f'largest difference of {name} to frames decoded in '
                         f'order, of 255, {setting.label(size)}', 'error',
                         _exact(max(levels[name])), target,
                         {'levels': levels[name], 'clips': len(setting.files)},
                         note=f'{right} of {len(setting.files)} clips within '
                         f'{MOST_LEVELS}')


def _workers(setting: _Setting) -> Iterator[Metric]:
    clips = setting.clips(SIZES[0])
    epochs = 1 if setting.options.quick else 4
    loaders = {
        (name, workers): torch.utils.data.DataLoader(
            torch.utils.data.ConcatDataset([clips[name]] * epochs), batch_size=4,
            num_workers=workers, persistent_workers=workers > 0)
        for name in ('stock', 'ours') for workers in (0, 1, 2)}

    def read(loader):
        return sum(1 for _ in loader)

    def read_on_one_core():
        with _one_core():
            return read(loaders['ours', 0])
    contenders = {key: partial(read, loader) for key, loader in loaders.items()}
    contenders['one core'] = read_on_one_core
    times = setting.time(contenders, warmup=1)
    num_clips = epochs * len(setting.files)
    for workers in (0, 1, 2):
        pair = {name: times[name, workers] for name in ('stock', 'ours')}
        yield Metric(
            'workers', f'stock / ours, {workers} workers, {setting.label(SIZES[0])}',
            'times', ratio_to_baseline(pair, 'stock')['ours'],
            setting.target(at_least(TARGET)) if workers == 2 else None,
            {f'{name}_clips_per_second': num_clips / summarize(taken).median
             for name, taken in pair.items()})
    pair = {'one core': times['one core'], 'two workers': times['ours', 2]}
    yield Metric(
        'workers', f'ours without workers on one core / with 2 on all, '
        f'{setting.label(SIZES[0])}', 'times',
        ratio_to_baseline(pair, 'one core')['two workers'],
        setting.target(at_least(1.6)))


def _profile(setting: _Setting) -> Iterator[Metric]:
    for size in SIZES:
        clips = setting.clips(size)['ours']
        clips.read_all()
        taken = Counter()
        for index in range(len(clips)):
            results = clips.sample(index)
            for step in clips.pipeline.transforms:
                start = time.perf_counter()
                results = step(results)
                taken[type(step).__name__] += time.perf_counter() - start
        for name, seconds in taken.most_common():
            yield Metric('profile', f'{name}, {setting.label(size)}', 'share',
                         _exact(seconds / sum(taken.values())))


PARTS = {'time': _time, 'processor': _processor, 'first': _first, 'pixels': _pixels,
         'workers': _workers, 'profile': _profile}

"""Video files broken at random, through the readers, the data set and a training.

Each file is read in a process of its own, by every decoder, as a training clip and as
a test clip: with its own label, or as one that is left out and listed, or not at all.
Some are named pipes, links to themselves, playlists that never end or a TB of holes.
'training' puts all into one data set and trains on it with two workers: what could not
be read has to stand in unreadable_samples.txt, once, and nothing else.

``--clips DIR`` breaks the clips below a folder, in the family 'given'. Mutant k of seed
s is mutant 0 of seed s + k.
"""
import contextlib
import os
import random
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from fractions import Fraction
from functools import cache
from pathlib import Path

from .broken_files import break_bytes
from .launched import REPO, Launched, run_tool
from .trials import Child, Options, Trial, Verdict

_SUFFIXES = ('.avi', '.mp4', '.mkv', '.webm')
_LIMIT = 60.  # seconds for all that is done with one file
_TIME_LIMIT = 3.  # seconds that the readers allow
_CONFIG = 'configs/resnext14_cosam_bert_demo.py'
_SMALL = """
_base_ = [{base!r}]
model = dict(backbone=dict(base_channels=8, groups=4, reduced_channels=32),
             cls_head=dict(in_channels=32, temporal=dict(ffn_channels=64)))
train_cfg = dict(max_epochs=1, val_interval=9)
default_hooks = dict(checkpoint=dict(save_best=None))
custom_hooks = [dict(type='UnreadableSamplesHook', max_share=1.0)]
train_dataloader = dict(batch_size=16, num_workers=2)
"""


def videos(options: Options) -> Iterator[Trial]:
    """Break ``options.count`` files in each family."""
    options.folder.mkdir(parents=True, exist_ok=True)
    clips_made = _generate(options.folder)
    for family in options.families:
        if family == 'training':
            yield from _train(options, clips_made)
        elif family == 'synthetic':
            yield from _read(options, family, clips_made)
        elif options.clips:
            yield from _read(options, family, sorted(
                path for path in options.clips.rglob('*') if path.suffix in _SUFFIXES))


def _generate(folder: Path) -> list[Path]:
    """Clips of several codecs and containers."""
    root = folder / 'synthetic'
    run_tool('tools/prepare_data.py', ['demo', '--out', root, '--num-videos-per-class',
                                       '4'], folder / 'synthetic.log')
    clips_made = sorted((root / 'videos').rglob('*.avi'))
    recoded = folder / 'recoded'
    recoded.mkdir(exist_ok=True)
    return clips_made[:4] + [
        _recode(source, recoded / name, codec) for source, name, codec in zip(
            clips_made[4:], ('a.avi', 'b.mp4', 'c.mp4', 'd.mkv', 'e.ts', 'f.webm'),
            ('mpeg4', 'mpeg4', 'libx264', 'mjpeg', 'mpeg2video', 'libvpx'))]


def _recode(source: Path, target: Path, codec: str) -> Path:
    import av
    pixels = 'yuvj420p' if codec == 'mjpeg' else 'yuv420p'
    with av.open(str(source)) as read, av.open(str(target), 'w') as written:
        stream = written.add_stream(codec, rate=25)
        first = next(read.decode(video=0))
        stream.width, stream.height = first.width, first.height
        stream.pix_fmt, stream.gop_size = pixels, 12
        read.seek(0)
        for number, frame in enumerate(read.decode(video=0)):
            frame = frame.reformat(format=pixels)
            frame.pts = number
            frame.time_base = Fraction(1, 25)
            written.mux(stream.encode(frame))
        written.mux(stream.encode())
    return target


def _mutant(folder: Path, clips: list[Path], seed: int) -> tuple[str, Path]:
    """What was done to a clip, and the file that is left of it."""
    rng = random.Random(f'videos {seed}')
    source, other = rng.choice(clips), rng.choice(clips)
    path = folder / f'mutant ({seed}){source.suffix}'
    _remove(path)
    if rng.random() < 0.1:
        return _make_odd(path, source, rng), path
    if rng.random() < 0.1:
        path = path.with_suffix(rng.choice((*_SUFFIXES, '.txt', '.m3u8', '.jpg')))
        _remove(path)
        shutil.copyfile(source, path)
        return 'wrong extension', path
    fault, data = break_bytes(source.read_bytes(), other.read_bytes(), rng)
    path.write_bytes(data)
    return fault, path


def _make_odd(path: Path, source: Path, rng: random.Random) -> str:
    """Something that is no video and may be waited for, or followed, for ever."""
    def make_holes():
        data = source.read_bytes()
        path.write_bytes(data[:rng.randrange(1, len(data))])
        os.truncate(path, 1 << 40)

    make = {
        'named pipe': lambda: os.mkfifo(path),
        'folder': path.mkdir,
        'link to itself': lambda: path.symlink_to(path.name),
        'link to /dev/zero': lambda: path.symlink_to('/dev/zero'),
        'playlist of itself': lambda: path.write_text(
            f"ffconcat version 1.0\nfile '{path.name}'\n"),
        'live playlist': lambda: path.write_text(
            f'#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{source}\n'),
        'text': lambda: path.write_text('class/clip.avi 1\n' * 100),
        'holes': make_holes}
    kind = rng.choice(list(make))
    make[kind]()
    return f'odd: {kind}'


def _remove(path: Path) -> None:
    """Remove a file, a link or an empty folder, if it exists."""
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    elif path.is_symlink() or path.exists():
        path.unlink()


def _read(options: Options, family: str, clips: list[Path]) -> Iterator[Trial]:
    """Break clips one by one and judge what the readers make of each."""
    folder = options.folder / family
    folder.mkdir(exist_ok=True)
    log = options.folder / 'videos.log'
    with contextlib.closing(Child(f'{__name__}:judge', log, _LIMIT)) as child:
        for seed in range(options.seed, options.seed + options.count if clips else 0):
            fault, path = _mutant(folder, clips, seed)
            outcome, problem = child(str(path), str(options.folder / 'synthetic'))
            if fault == 'odd: holes':
                child.close()  # a thread of it reads on
            if problem is None:
                _remove(path)
            else:
                problem = f'--seed {seed} --count 1, {path.name}: {problem}'
            yield Trial(family, fault, problem, outcome)


def judge(path: str, root: str) -> Verdict:
    """Read a file in every way, in the process that this is called in."""
    import cosam_mm  # noqa: F401, I001
    import numpy as np
    from cosam_mm.datasets.video_reader import (
        UnreadableVideo,
        VideoReader,
        read_all_frames,
    )

    def look(frames):
        for _, frame in zip(range(200), frames):
            assert frame.ndim == 3, frame.shape

    with contextlib.suppress(UnreadableVideo):  # as prepare_data reads it
        read_all_frames(path, look, _TIME_LIMIT)
    for backend in (None, 'pyav', 'opencv', 'decord'):
        with contextlib.suppress(UnreadableVideo):
            reader = VideoReader(path, time_limit=_TIME_LIMIT, backend=backend)
            reader.get_batch(np.arange(32) % len(reader))
    outcomes = [_as_clip(path, root, subset, pipeline) for subset in ('train', 'val')
                for pipeline in ('demo_rgb_64', 'rgb_112')]
    return max(outcomes, key=lambda found: ('read', 'skipped', 'lost').index(
        found.outcome))


def _as_clip(path: str, root: str, subset: str, pipeline: str) -> Verdict:
    """As a sample of a data set, among good ones."""
    from mmaction.registry import DATASETS
    from mmengine.registry import DefaultScope

    own, folder = os.path.basename(path), Path(path).parent
    classes = (Path(root) / 'demo_classes.txt').read_text().split('\n')
    labels = {own: 3}
    (folder / 'good').mkdir(exist_ok=True)
    for clip in sorted(Path(root, 'videos').rglob('*.avi'))[-6:]:
        link = folder / 'good' / clip.name  # beside the file that is tried
        if not link.exists():
            link.symlink_to(clip)
        labels[f'good/{link.name}'] = classes.index(clip.parent.name)
    annotations = folder / 'list.txt'
    annotations.write_text(''.join(f'{name} {label}\n'
                                   for name, label in labels.items()))
    config = _read_config(REPO / f'configs/_base_/datasets/{pipeline}.py')
    steps = config['train_pipeline' if subset == 'train' else 'test_pipeline']
    steps[0]['time_limit'] = _TIME_LIMIT
    with DefaultScope.overwrite_default_scope('mmaction'):
        dataset = DATASETS.build(dict(
            type='ActionVideoDataset', data_root=root, name='demo', num_classes=8,
            ann_file=str(annotations), data_prefix=dict(video=str(folder)),
            pipeline=steps, test_mode=subset == 'val'))
        data = dataset[0]
    return _judge_clip(data['data_samples'], data['inputs'], own, {
        os.path.splitext(name)[0]: label for name, label in labels.items()})


def _judge_clip(sample, inputs, own: str, labels: dict[str, int]) -> Verdict:
    """Whether a sample is the clip asked for, or another one and says so."""
    import torch

    from cosam_mm.datasets.unreadable_samples import BLANK, SKIPPED, notes_of
    notes, found = notes_of(sample), sample.metainfo['sample_id']
    expected = [] if found == os.path.splitext(own)[0] else [SKIPPED]
    if sample.metainfo.get('unreadable'):
        expected = [BLANK]
    problem = None
    if int(sample.gt_label) != labels[found]:
        problem = (f'label {int(sample.gt_label)} for {found!r}, which has '
                   f'{labels[found]}')
    elif inputs.dtype != torch.uint8 or inputs.shape[1] != 3 or inputs.ndim != 5:
        problem = f'{inputs.dtype} of shape {tuple(inputs.shape)}'
    elif sorted({note.outcome for note in notes}) != expected:  # may be chosen again
        problem = f'notes {notes}, expected {expected}'
    elif any(os.path.basename(note.name) != own for note in notes):
        problem = f'notes name another file: {notes}'
    return Verdict('lost', problem) if problem else \
        Verdict('skipped' if notes else 'read')


@cache
def _read_config(path: Path):
    from mmengine.config import Config
    return Config.fromfile(path)


def _train(options: Options, clips: list[Path]) -> Iterator[Trial]:
    """All mutants in one data set, two good clips for each, and a training on it."""
    root = options.folder / 'training'
    videos = root / 'videos'
    shutil.rmtree(root, ignore_errors=True)
    videos.mkdir(parents=True)
    shutil.copy(options.folder / 'synthetic/demo_classes.txt', root)
    made, lines = {}, []
    for seed in range(options.seed, options.seed + options.count):
        fault, path = _mutant(videos, clips, seed)
        if fault != 'odd: holes':  # each would be waited for
            made[path] = fault, seed
            lines.append(f'{path.name} 0')
        else:
            path.unlink()
    for number, clip in zip(range(len(made)), clips * (len(made) // len(clips) + 1)):
        (videos / f'good {number}{clip.suffix}').symlink_to(clip)
        lines.append(f'good {number}{clip.suffix} 1')
    for subset in ('train', 'val'):
        (root / f'demo_{subset}_split_1_videos.txt').write_text('\n'.join(lines) + '\n')
    config, log = root / 'config.py', root / 'training.log'
    config.write_text(_SMALL.format(base=str(REPO / _CONFIG)))
    status = Launched('tools/train.py', [
        config, '--data-root', root, '--work-dir', root / 'run', '--no-validate'],
        log).finish()
    listed = _listed(root / 'run') if status == 0 else Counter()
    unreadable = _unreadable(made, log)
    for path, (fault, seed) in made.items():
        problem = None
        if status:
            problem = f'exit status {status}, see {log}'
        elif listed[str(path)] != int(path in unreadable):
            problem = (f'--seed {seed} --count 1: listed {listed[str(path)]} '
                       f'times, {"un" if path in unreadable else ""}readable')
        yield Trial('training', fault, problem,
                    'skipped' if path in unreadable else 'read')
    strange = set(listed) - set(map(str, made))
    if strange:
        yield Trial('training', 'none', f'{sorted(strange)[:3]} listed')


def _listed(work_dir: Path) -> Counter:
    """How often each file is listed."""
    from cosam_mm.engine.hooks.unreadable_samples_hook import listed_samples
    return Counter(line.split('\t')[1] for line in listed_samples(work_dir))


def _unreadable(paths: Iterable[Path], log: Path) -> set[Path]:
    """Files that do not give the clip that the training asked for, asked again here."""
    with contextlib.closing(Child(f'{__name__}:give_frames', log, _LIMIT)) as child:
        return {path for path in paths if child(str(path)).outcome != 'read'}


def give_frames(path: str) -> Verdict:
    """Whether all frames of a file can be asked for, in the order of a clip."""
    import numpy as np

    from cosam_mm.datasets.video_reader import UnreadableVideo, VideoReader
    try:
        reader = VideoReader(path)
        reader.get_batch(np.arange(min(32, len(reader))))
    except UnreadableVideo:
        return Verdict('skipped')
    return Verdict('read')

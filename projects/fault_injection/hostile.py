"""Files of strangers given to every tool and both classes for inference.

Each runs in a process of its own, forked from one that has imported what it needs,
beside a server on loopback that must not be asked and a marker that must not be
written. It has to refuse the file in a line, or leave it out and name it, within
:data:`_LIMIT` seconds and :data:`_MEMORY` bytes, and to remove no file of others.
"""
import contextlib
import os
import resource
import runpy
import shutil
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

from ..text_table import text_table
from . import hostile_files, oversized_files
from .launched import REPO, run_tool
from .training import prepare
from .trials import Child, Options, Trial, Verdict

_LIMIT = 120.
_MEMORY = 1 << 30  # beyond what was in use before
_SCORES = ('sample_id', 'score', 'label', 'unreadable', 'dataset', 'split',
           'score_type')
_FEATURES = ('feature', 'pid', 'camid', 'subset', 'tracklet_id')
_API = """
import sys, numpy as np, cosam_mm
clip = np.zeros((9, 64, 64, 3), np.uint8)
try:
    getattr(cosam_mm, sys.argv[1])(sys.argv[2], device='cpu').predict(clip)
except (OSError, ValueError, RuntimeError) as error:
    sys.exit(f'error: {error}')
"""
# Words in capitals stand for paths: see _prepare_all.
_OF_CHECKPOINTS = {
    'train --resume': 'tools/train.py CONFIG --data-root DATA --work-dir OUT '
                      '--resume EVIL',
    'train load_from': 'tools/train.py CONFIG --data-root DATA --work-dir OUT '
                       '--cfg-options load_from=EVIL',
    'test': 'tools/test.py CONFIG EVIL --data-root DATA --work-dir OUT',
    'demo': 'tools/demo.py EVIL VIDEO',
    'export': 'tools/deployment/export.py EVIL --format program --out OUT/a.pt2',
    'report': 'tools/report.py OUT --checkpoint EVIL',
    'index': 'tools/search_gallery.py index EVIL PERSONS --out OUT/a.npz',
    'search': 'tools/search_gallery.py search GALLERY PERSONS --checkpoint EVIL',
    'masks': 'tools/visualizations/visualize_masks.py CONFIG EVIL VIDEO --out OUT',
    'ranks': 'tools/visualizations/visualize_ranks.py FEATURES --config REID_CONFIG '
             '--data-root REID_DATA --masks EVIL --out OUT',
    'convert': 'tools/model_converters/convert_reference.py EVIL OUT/a.pth',
    'ActionRecognizer': 'API ActionRecognizer EVIL',
    'TrackletEncoder': 'API TrackletEncoder EVIL'}
_OF_SCORES = {
    'fuse': 'tools/fuse_scores.py EVIL',
    'analyze': 'tools/visualizations/analyze_results.py EVIL --out OUT',
    'ranks': 'tools/visualizations/visualize_ranks.py EVIL --out OUT',
    'search': 'tools/search_gallery.py search EVIL PERSONS --checkpoint REID',
    'report': 'tools/report.py FOLDER'}
_OF_FOLDERS = {
    'report': 'tools/report.py FOLDER',
    'curves': 'tools/visualizations/plot_curves.py FOLDER --out OUT/a.png',
    'train --resume': 'tools/train.py CONFIG --data-root DATA --work-dir FOLDER '
                      '--resume'}
_OF_VIDEOS = {
    'demo': 'tools/demo.py ACTION EVIL',
    'masks': 'tools/visualizations/visualize_masks.py CONFIG ACTION EVIL --out OUT',
    'crop': 'tools/prepare_data.py crop --video EVIL --tracks TRACKS --out OUT/a '
            '--camid 1'}
_OF_IMAGES = {
    'demo': 'tools/demo.py ACTION FOLDER',
    'index': 'tools/search_gallery.py index REID FOLDER --out OUT/a.npz',
    'masks': 'tools/visualizations/visualize_masks.py REID_CONFIG REID FOLDER --out '
             'OUT'}
_OF_TRACKS = {'crop': 'tools/prepare_data.py crop --video VIDEO --tracks EVIL --out '
                      'OUT/a --camid 1'}


def _changed(how: str, paths: dict, family: str = 'ACTION') -> Callable:
    return lambda path, marker, url: hostile_files.change_config(
        Path(paths[family]), path,
        lambda cfg: hostile_files.make_hostile(cfg, how, url))


def _files(paths: dict) -> dict[str, dict[str, tuple[Callable, dict]]]:
    """Family -> what a file holds -> what writes it, and who reads it."""
    checkpoints, names = _OF_CHECKPOINTS, (*_SCORES, *_FEATURES)
    hostile, large = hostile_files, oversized_files
    return {
        'code': {
            'a.pth: pickled call': (
                lambda path, marker, _: hostile.write_checkpoint(path, marker),
                checkpoints),
            'a.pth: pickled call, old format': (
                lambda path, marker, _: hostile.write_checkpoint(path, marker, False),
                checkpoints),
            'a.npz: pickled arrays': (
                lambda path, marker, _: hostile.write_arrays(path, marker, names),
                _OF_SCORES),
            'a.npz: bare pickle': (
                lambda path, marker, _: hostile.write_pickle(path, marker),
                _OF_SCORES),
            'scalars.json: bare pickle': (
                lambda path, marker, _: hostile.write_pickle(path, marker),
                _OF_FOLDERS),
            'config.py: code': (
                lambda path, marker, _: path.write_text(
                    hostile.EVIL_CONFIG.format(str(marker))), _OF_FOLDERS)},
        'configs': {
            f'a.pth: {how}': (_changed(how, paths), checkpoints)
            for how in ('address', 'module', 'scope', 'default scope', 'pipeline')},
        'sizes': {
            'a.npz: 10^12 numbers': (
                lambda path, *_: large.write_claiming_arrays(path, names), _OF_SCORES),
            'a.npz: 13 x 1.6 GB of zeros': (
                lambda path, *_: large.write_inflating_arrays(path, names),
                _OF_SCORES),
            'a.mp4: 30 million frames': (
                lambda path, *_: large.write_video(path), _OF_VIDEOS),
            'a.avi: 8190 x 8190 pixels': (
                lambda path, *_: large.write_large_frames(path), _OF_VIDEOS),
            'a.png: 30,000 x 30,000 pixels': (
                lambda path, *_: large.write_image(path), _OF_IMAGES),
            'scalars.json: a TB of holes': (
                lambda path, *_: large.write_holes(path), _OF_FOLDERS),
            'scalars.json: step 10^15': (lambda path, *_: path.write_text(
                '{"step": 1, "iter": 1, "epoch": 1, "loss": 1}\n'
                f'{{"step": {10**15}, "iter": {10**15}, "epoch": 1, "loss": 1}}\n'),
                _OF_FOLDERS),
            'a.txt: a TB of holes': (
                lambda path, *_: large.write_holes(path), _OF_TRACKS),
            'a.txt: frame 10^12': (lambda path, *_: path.write_text(
                f'{10**12},1,1e300,0,1e12,1e12\n1,{10**12},0,0,9,40\n'
                + paths['TRACKS'].read_text()), _OF_TRACKS)},
        'pipes': {
            f'{name}: named pipe': (lambda path, *_: os.mkfifo(path), commands)
            for name, commands in (
                ('a.pth', checkpoints), ('a.npz', _OF_SCORES), ('a.mp4', _OF_VIDEOS),
                ('a.png', _OF_IMAGES), ('a.txt', _OF_TRACKS),
                ('scalars.json', _OF_FOLDERS), ('last_checkpoint', _OF_FOLDERS),
                ('epoch_1.pth', _OF_FOLDERS), ('config.py', _OF_FOLDERS))},
    }


def hostile(options: Options) -> Iterator[Trial]:
    """Give each file of a family to everything that reads such files."""
    options.folder.mkdir(parents=True, exist_ok=True)
    log = options.folder / 'hostile.log'
    paths = _prepare_all(options.folder)
    with hostile_files.listener() as (url, asked), contextlib.closing(
            Child(f'{__name__}:judge', log, 2 * _LIMIT)) as child:
        for family in options.families:
            for title, (write, commands) in _files(paths)[family].items():
                for tool, command in commands.items():
                    folder = options.folder / 'trial'
                    shutil.rmtree(folder, ignore_errors=True)
                    (folder / 'evil').mkdir(parents=True)
                    marker = folder / 'it ran'
                    path = folder / 'evil' / title.partition(':')[0]
                    write(path, marker, url)
                    (folder / 'out').mkdir()
                    named = dict(paths, EVIL=path, FOLDER=path.parent,
                                 OUT=folder / 'out')
                    outcome, problem = child(
                        [_fill(word, named) for word in command.split()], str(folder))
                    if asked or marker.exists():
                        problem = f'asked for {asked.pop()}' if asked else 'code ran'
                    yield Trial(family, f'{title} -> {tool}', problem, outcome)


def summarize(trials: list[Trial]) -> str:
    """A line for each file: by whom it was refused, and who went on without it."""
    rows = {}
    for trial in trials:
        title, _, tool = trial.fault.partition(' -> ')
        row = rows.setdefault(title, dict(refused=[], read=[], lost=[]))
        row['lost' if trial.problem else trial.outcome].append(tool)
    return text_table([('file', 'refused by', 'left out or read as data by', 'lost in'),
                       *((title, *map(', '.join, row.values()))
                         for title, row in rows.items())], 4)


def _fill(word: str, named: dict) -> str:
    """A word of a command with the path that its last capitals stand for."""
    start, mark, name = word.rpartition('=')
    name, slash, rest = name.partition('/')
    return f'{start}{mark}{named.get(name, name)}{slash}{rest}'


def _prepare_all(folder: Path) -> dict:
    """What the tools need besides: a trained model of either kind and its results."""
    paths = {}
    for family, prefix in (('action', ''), ('reid', 'REID_')):
        config, _, data, *_ = prepare(family, folder / family)
        work_dir, log = folder / family / 'run', folder / f'{family}.log'
        run_tool('tools/train.py', [
            config, '--data-root', data, '--work-dir', work_dir, '--seed', '3',
            '--no-validate', '--cfg-options', 'train_cfg.max_epochs=1',
            'train_dataloader.num_workers=0',
            'train_dataloader.persistent_workers=False'], log)
        paths.update({f'{prefix}CONFIG': config, f'{prefix}DATA': data,
                      family.upper(): work_dir / 'epoch_1.pth'})
    paths.update(FEATURES=folder / 'features.npz', GALLERY=folder / 'gallery.npz',
                 API=folder / 'api.py', TRACKS=folder / 'tracks.txt',
                 VIDEO=next(Path(paths['DATA']).rglob('*.avi')),
                 PERSONS=next(Path(paths['REID_DATA']).rglob('*.jpg')).parents[1])
    paths['API'].write_text(_API)
    paths['TRACKS'].write_text(''.join(f'{k},1,0,0,20,40\n' for k in range(1, 9)))
    run_tool('tools/test.py', [paths['REID_CONFIG'], paths['REID'], '--data-root',
                               paths['REID_DATA'], '--dump', paths['FEATURES']],
             folder / 'features.log')
    run_tool('tools/search_gallery.py', [
        'index', paths['REID'], paths['PERSONS'], '--out', paths['GALLERY']],
        folder / 'gallery.log')
    return paths


# -- in the child process ------------------------------------------------------------


def judge(argv: list[str], folder: str) -> Verdict:
    """Run a tool in a fork of this process; what became of the file that it read."""
    output, start = Path(folder, 'output.txt'), time.monotonic()
    pid = os.fork()
    if pid == 0:
        _become(argv, folder, output)
    while not (done := os.wait4(pid, os.WNOHANG))[0]:
        if time.monotonic() - start > _LIMIT:
            os.kill(pid, 9)
            os.waitpid(pid, 0)
            return Verdict('lost', f'no end within {_LIMIT:g} s')
        time.sleep(0.05)
    status = os.waitstatus_to_exitcode(done[1])
    text, peak = output.read_text(errors='replace'), Path(folder, 'peak.txt')
    growth = int(peak.read_text()) if peak.exists() else 0
    print(argv, status, text)
    if status < 0:
        return Verdict('lost', f'died of signal {-status}')
    if growth > _MEMORY:
        return Verdict('lost', f'took {growth / 1e9:.1f} GB')
    if 'Traceback (most recent call last)' in text:
        return Verdict('lost', f'a traceback: {text.splitlines()[-1][:200]}')
    refusal = text.rpartition('error: ')[2]
    if status and not (f'{folder}/evil' in refusal or 'out of a file' in refusal):
        return Verdict('lost', f'status {status}, no word of the file: {text[-200:]}')
    return Verdict('refused' if status else 'read')


def _peak() -> int:
    status = Path('/proc/self/status').read_text()
    return int(status.split('VmHWM:')[1].split()[0]) << 10


def _become(argv: list[str], folder: str, output: Path) -> None:
    """Turn this fork into a tool."""
    handle = os.open(output, os.O_WRONLY | os.O_CREAT)
    for stream in (1, 2):
        os.dup2(handle, stream)
    os.chdir(folder)
    Path('/proc/self/clear_refs').write_text('5')  # forget the peak
    before, status = _peak(), 0
    program = REPO / argv[0]
    sys.argv, sys.path[0] = [str(program), *argv[1:]], str(program.parent)
    resource.setrlimit(resource.RLIMIT_DATA, (6 << 30, 6 << 30))
    try:
        runpy.run_path(str(program), run_name='__main__')
    except SystemExit as error:
        status = error.code or 0
        if isinstance(status, str):
            print(status, file=sys.stderr)
            status = 2
    except BaseException:
        traceback.print_exc()
        status = 1
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    Path(folder, 'peak.txt').write_text(str(_peak() - before))
    os._exit(status)

"""Files of strangers given to every tool and both classes for inference.

Each runs in a process of its own, forked from one that has imported what it needs,
beside a server on loopback that must not be asked and a marker that must not be
written. It has to refuse the file in a line, or leave it out and name it, within
:data:`_LIMIT` seconds and :data:`_MEMORY` bytes, and to remove no file of others.
"""
import contextlib
import os
import re
import runpy
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Callable, Optional

import torch

from cosam_mm.utils.io import read_checkpoint

from ..text_table import text_table
from . import hostile_files, oversized_files
from .launched import REPO, run_tool
from .trials import Child, Options, Trial, Verdict

_LIMIT = 120.
_MEMORY = 1 << 30  # beyond what was in use before
_SCORES = ('sample_id', 'score', 'label', 'unreadable', 'dataset', 'split',
           'score_type')
_FEATURES = ('feature', 'pid', 'camid', 'subset', 'tracklet_id')
_OUTCOMES = ('refused', 'other refusal', 'read', 'lost')  # read: or left out
_API = """
import sys, numpy as np, cosam_mm
clip = np.zeros((9, 64, 64, 3), np.uint8)
try:
    getattr(cosam_mm, sys.argv[1])(sys.argv[2], device='cpu').predict(clip)
except (OSError, ValueError, RuntimeError) as error:
    sys.exit(f'error: {error}')
"""
# Words in capitals stand for paths: see _prepare_all. Both validations of a short
# training have a score, so that the second finds a better one.
_SHORT = ('tools/train.py CONFIG --data-root DATA --cfg-options train_cfg.max_epochs=2 '
          'train_cfg.val_interval=1 train_dataloader.dataset.indices=4 '
          'val_dataloader.dataset.indices=4 ')
_OF_CHECKPOINTS = {
    'train --resume': _SHORT + '--work-dir OUT --resume EVIL',
    'train load_from': _SHORT + 'load_from=EVIL --work-dir OUT',
    'test': 'tools/test.py CONFIG EVIL --data-root DATA --work-dir OUT',
    'demo': 'tools/demo.py EVIL VIDEO',
    'export': 'tools/deployment/export.py EVIL --format program --out OUT/a.pt2',
    'report': 'tools/report.py OUT --checkpoint EVIL',
    'index': 'tools/search_gallery.py index EVIL PERSONS --out OUT/a.npz',
    'search': 'tools/search_gallery.py search GALLERY PERSONS --checkpoint EVIL',
    'masks': 'tools/visualizations/visualize_masks.py CONFIG EVIL VIDEO --out OUT',
    'ranks': 'tools/visualizations/visualize_ranks.py FEATURES --config MARS_CONFIG '
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
    'train --resume': _SHORT + '--work-dir FOLDER --resume'}
_OF_VIDEOS = {
    'demo': 'tools/demo.py ACTION EVIL',
    'masks': 'tools/visualizations/visualize_masks.py CONFIG ACTION EVIL --out OUT',
    'crop': 'tools/prepare_data.py crop --video EVIL --tracks TRACKS --out OUT/a '
            '--camid 1'}
_OF_IMAGES = {
    'demo': 'tools/demo.py ACTION FOLDER',
    'index': 'tools/search_gallery.py index REID FOLDER/.. --out OUT/a.npz',
    'masks': 'tools/visualizations/visualize_masks.py REID_CONFIG REID FOLDER --out '
             'OUT'}
_OF_WORK_DIRS = {tool: _OF_FOLDERS[tool] for tool in ('report', 'train --resume')}
_MODELS = {'ACTION': 'actions', 'REID': 'persons'}
_OF_REID = ('index', 'search', 'ranks', 'TrackletEncoder')
# What a refusal must say: of a file, else of its family. Others are listed as such.
_WORDS = {
    'code': 'would run|allow_pickle=False|is not a|is no JSON',
    'configs': 'out of a file', 'damage': 'checksum', 'pipes': 'named pipe',
    'a.npz: 10^12 numbers': 'too few', 'a.npz: 20 GB of zeros': 'that claim to hold',
    'a.mp4: 30 million frames': 'no frame', 'scalars.json: a TB of holes': 'more than',
    'a.png: 30,000 x 30,000 pixels': '900000000', 'a.txt: a TB of holes': 'more than'}
_OF_TRACKS = {'crop': 'tools/prepare_data.py crop --video VIDEO --tracks EVIL --out '
                      'OUT/a --camid 1'}


def _of_model(own: str) -> dict:
    """What reads a checkpoint of a kind of model."""
    return {tool: command for tool, command in _OF_CHECKPOINTS.items()
            if (tool in _OF_REID) == (own == 'REID')}


def _files(paths: dict) -> dict[str, dict[str, tuple[Callable, dict]]]:
    """Family -> name and content of a file -> what writes it, and who reads it."""
    code, large, names = hostile_files, oversized_files, (*_SCORES, *_FEATURES)
    lines = paths['TRACKS'].read_text()
    step = '{"step": %d, "iter": %d, "epoch": 1, "loss": 1}\n'

    def given(write: Callable, *args) -> Callable:
        return lambda path, marker, url: write(path, *args)

    def marking(write: Callable, *args) -> Callable:
        return lambda path, marker, url: write(path, marker, *args)

    return {
        'code': {
            'a.pth: pickled call': (marking(code.write_checkpoint), _OF_CHECKPOINTS),
            'a.pth: pickled call, old format': (
                marking(code.write_checkpoint, False), _OF_CHECKPOINTS),
            'a.npz: pickled arrays': (marking(code.write_arrays, names), _OF_SCORES),
            'a.npz: bare pickle': (marking(code.write_pickle), _OF_SCORES),
            'scalars.json: bare pickle': (marking(code.write_pickle), _OF_FOLDERS),
            'config.py: code': (lambda path, marker, _: path.write_text(
                code.EVIL_CONFIG.format(str(marker))), _OF_WORK_DIRS)},
        'configs': {
            f'a.pth: {how} in a model of {word}': (
                lambda path, _, url, how=how, own=own: code.change_config(
                    paths[own], path, lambda cfg: code.make_hostile(cfg, how, url)),
                _of_model(own)) for own, word in _MODELS.items()
            for how in ('address', 'module', 'scope', 'default scope', 'pipeline')
            if own == 'ACTION' or how != 'address'},
        'sizes': {
            'a.npz: 10^12 numbers': (
                given(large.write_claiming_arrays, names), _OF_SCORES),
            'a.npz: 20 GB of zeros': (
                given(large.write_inflating_arrays, names), _OF_SCORES),
            'a.mp4: 30 million frames': (given(large.write_video), _OF_VIDEOS),
            'a.png: 30,000 x 30,000 pixels': (given(large.write_image), _OF_IMAGES),
            'scalars.json: a TB of holes': (given(large.write_holes), _OF_FOLDERS),
            'scalars.json: step 10^15': (given(Path.write_text, step % (1, 1) + step % (
                10**15, 10**15)), _OF_FOLDERS),
            'a.txt: a TB of holes': (given(large.write_holes), _OF_TRACKS),
            'a.txt: frame and person 10^12': (given(
                Path.write_text, f'{10**12},1,1e300,0,1e12,1e12\n1,{10**12},0,0,9,40\n'
                + lines), _OF_TRACKS)},
        'damage': {
            f'a.pth: a bit flipped in a model of {word}': (
                given(lambda path, own: code.flip_a_bit(Path(shutil.copy(own, path))),
                      paths[own]), _of_model(own)) for own, word in _MODELS.items()},
        'deletion': {
            f'epoch_1.pth: its best checkpoint is {what}': (
                given(_order_deletion, paths['ACTION'], what),
                {'train --resume': _OF_FOLDERS['train --resume']})
            for what in ('thesis.tex', 'data', 'best_x.pth')},
        'names': {
            f'{name}: a video': (lambda path, *_: shutil.copy(paths['VIDEO'], path), {
                tool: _OF_VIDEOS[tool] for tool in ('demo', 'masks')})
            for name in ("$(touch 'it ran').avi", '`touch it\\ ran`.avi', '-rf.avi',
                         "a';touch 'it ran';'.avi", 'a\nb <script>.avi',
                         'http%3A%2F%2Fa.avi', 'a\udcff.avi')},
        'pipes': {
            f'{name}: named pipe': (given(os.mkfifo), commands) for name, commands in (
                ('a.pth', _OF_CHECKPOINTS), ('a.npz', _OF_SCORES),
                ('a.mp4', _OF_VIDEOS), ('a.png', _OF_IMAGES), ('a.txt', _OF_TRACKS),
                ('scalars.json', _OF_FOLDERS), *((name, _OF_WORK_DIRS) for name in (
                    'last_checkpoint', 'epoch_1.pth', 'config.py')))},
    }


def _order_deletion(path: Path, own: Path, what: str) -> None:
    """A training's checkpoint that calls a file or folder of others its best one."""
    content, victim = read_checkpoint(own), path.with_name(what)
    victim.mkdir() if what == 'data' else victim.write_text('years of work')
    content['message_hub']['runtime_info'].update(
        best_ckpt=str(victim), last_ckpt=str(victim), best_score=-1.)
    torch.save(content, path)


def hostile(options: Options) -> Iterator[Trial]:
    """Give each file of a family to everything that reads such files."""
    options.folder.mkdir(parents=True, exist_ok=True)
    log = options.folder / 'hostile.log'
    paths = _prepare_all(options.folder)
    with hostile_files.listener() as (url, asked), contextlib.closing(
            Child(f'{__name__}:judge', log, _LIMIT)) as child:
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
                    before = set((folder / 'evil').iterdir())
                    named = dict(paths, EVIL=path, FOLDER=path.parent,
                                 OUT=folder / 'out')
                    outcome, problem = child(
                        [_fill(word, named) for word in command.split()], str(folder),
                        _WORDS.get(title, _WORDS.get(family)))
                    child.close()  # a tool may have changed its process
                    if asked or marker.exists():
                        problem = f'asked for {asked.pop()}' if asked else 'code ran'
                    for gone in before - set((folder / 'evil').iterdir()):
                        problem = f'{gone.name} is gone'
                    shown = title if title.isprintable() else ascii(title)[1:-1]
                    yield Trial(family, f'{shown} -> {tool}', problem, outcome)


def summarize(trials: list[Trial]) -> str:
    """A line for each file: by whom it was refused, and who went on without it."""
    rows = {}
    for trial in trials:
        title, _, tool = trial.fault.partition(' -> ')
        row = rows.setdefault(title, {name: [] for name in _OUTCOMES})
        row['lost' if trial.problem else trial.outcome.partition(':')[0]].append(tool)
    return text_table([('file', *_OUTCOMES), *(
        (title, *map(', '.join, row.values())) for title, row in rows.items())], 5)


def _fill(word: str, named: dict) -> str:
    """A word of a command with the path that its last capitals stand for."""
    start, mark, name = word.rpartition('=')
    name, slash, rest = name.partition('/')
    return f'{start}{mark}{named.get(name, name)}{slash}{rest}'


def _prepare_all(folder: Path) -> dict:
    """Paths by the words of the commands: models, results, data."""
    shipped, paths = REPO / 'tests/data/written_by_0_1', {}
    for name, data, prefix in (('action', 'demo', ''), ('reid', 'reid-demo', 'REID_')):
        paths[name.upper()] = shipped / f'{name}.pth'
        paths[f'{prefix}CONFIG'] = folder / f'{name}.py'
        paths[f'{prefix}CONFIG'].write_text(
            read_checkpoint(paths[name.upper()])['meta']['cfg'])
        paths[f'{prefix}DATA'] = folder / data
        run_tool('tools/prepare_data.py', [data, '--out', folder / data],
                 folder / f'{data}.log')
    paths.update(MARS_CONFIG=REPO / 'configs/reid/resnet14_cosam45_tp_demo.py',
                 FEATURES=shipped / 'features.npz', GALLERY=shipped / 'gallery.npz',
                 API=folder / 'api.py', TRACKS=folder / 'tracks.txt',
                 VIDEO=next(paths['DATA'].rglob('*.avi')),
                 PERSONS=next(paths['REID_DATA'].rglob('*.jpg')).parents[1])
    paths['API'].write_text(_API)
    paths['TRACKS'].write_text(''.join(f'{k},1,0,0,20,40\n' for k in range(1, 9)))
    return paths


def judge(argv: list[str], folder: str, words: Optional[str]) -> Verdict:
    """Run a tool in this process; whether its refusal, if it is one, says ``words``."""
    program, output, status = REPO / argv[0], Path(folder, 'output.txt'), 0
    handle = os.open(output, os.O_WRONLY | os.O_CREAT)
    for stream in (1, 2):
        os.dup2(handle, stream)
    os.chdir(folder)
    Path('/proc/self/clear_refs').write_text('5')  # forget the peak
    before = _peak()
    sys.argv, sys.path[0] = [str(program), *argv[1:]], str(program.parent)
    try:
        runpy.run_path(str(program), run_name='__main__')
    except SystemExit as error:
        status = error.code or 0
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    text, growth = output.read_text(errors='replace'), _peak() - before
    if 'Zen of Python' in text:  # see make_hostile
        return Verdict('lost', 'a module was imported')
    if growth > _MEMORY:
        return Verdict('lost', f'took {growth / 1e9:.1f} GB')
    refusal = f'{text}{status}'.rpartition('error: ')
    if status and not refusal[1]:
        return Verdict('lost', f'status {status}: {text[-200:]}')
    if status and not (words and re.search(words, refusal[2])):
        return Verdict(f'other refusal: {refusal[2]}')
    return Verdict('refused' if status else 'read')


def _peak() -> int:
    status = Path('/proc/self/status').read_text()
    return int(status.split('VmHWM:')[1].split()[0]) << 10

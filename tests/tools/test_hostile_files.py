"""Every command that reads a checkpoint, feature, score or gallery file, given one
that would run code: it is refused in a line, and nothing happens."""
import shutil

import numpy as np
import pytest

from cosam_mm.utils.io import read_checkpoint
from projects.fault_injection.hostile_files import (
    EVIL_CONFIG,
    change_config,
    listener,
    make_hostile,
    write_arrays,
    write_checkpoint,
    write_pickle,
)
from tests.hostile_records import assert_is_dangerous
from tests.tool_process import assert_refused

SCORES = ('sample_id', 'score', 'label', 'unreadable', 'dataset', 'split', 'score_type')
FEATURES = ('feature', 'pid', 'camid', 'is_query', 'is_gallery', 'tracklet_id')
GALLERY = ('feature', 'tracklet_id', 'state', 'weights_sha256', 'recipe', 'checkpoint',
           'distance', 'num_waiting')
ADVICE = 'would run exec'


@pytest.fixture
def evil(tmp_path):
    """A checkpoint, and the file that it must not write."""
    path, marker = tmp_path / 'evil.pth', tmp_path / 'it ran'
    write_checkpoint(path, marker)
    assert_is_dangerous(path, marker)
    return path, marker


def assert_harmless(done, marker, *words):
    """The file is refused in one line, and its code has not run."""
    assert not marker.exists()
    assert 'weights_only' not in done.stderr  # torch's advice to switch it off
    assert_refused(done, *words)


@pytest.mark.parametrize('how', ['resume', 'load_from', 'init_cfg', 'work dir'])
def test_train(nest, tiny_config, demo_root, tmp_path, evil, how):
    path, marker = evil
    work_dir = tmp_path / 'work'
    if how == 'work dir':  # resumed without naming a file
        work_dir.mkdir()
        path = path.rename(work_dir / 'epoch_9.pth')
        (work_dir / 'last_checkpoint').write_text(str(path))
    options = {
        'resume': ['--resume', path], 'work dir': ['--resume'],
        'load_from': ['--cfg-options', f'load_from={path}'],
        'init_cfg': ['--cfg-options', 'model.backbone.init_cfg.type=Pretrained',
                     f'model.backbone.init_cfg.checkpoint={path}']}[how]
    done = nest.run('tools/train.py', tiny_config, '--data-root', demo_root,
                    '--work-dir', work_dir, *options, cwd=tmp_path)
    assert_harmless(done, marker, str(path), ADVICE)
    assert not list(work_dir.glob('epoch_1.pth'))


def test_test(nest, tiny_config, demo_root, tmp_path, evil):
    path, marker = evil
    done = nest.run('tools/test.py', tiny_config, path, '--data-root', demo_root,
                    cwd=tmp_path)
    assert_harmless(done, marker, str(path), ADVICE)


@pytest.mark.parametrize('command', [
    ['tools/model_converters/convert_reference.py', 'EVIL', 'out.pth'],
    ['tools/demo.py', 'EVIL', 'clip.avi'],
    ['tools/deployment/export.py', 'EVIL', '--format', 'program'],
    ['tools/search_gallery.py', 'index', 'EVIL', 'folder', '--out', 'gallery.npz'],
    ['tools/visualizations/visualize_masks.py', 'CONFIG', 'EVIL', 'folder'],
    ['tools/report.py', '.', '--checkpoint', 'EVIL']])
def test_tools_of_a_checkpoint(nest, tiny_config, tmp_path, evil, command):
    path, marker = evil
    names = dict(EVIL=path, CONFIG=tiny_config)
    done = nest.run(*(names.get(word, word) for word in command), cwd=tmp_path)
    assert_harmless(done, marker, str(path), ADVICE)
    assert sorted(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize('kind', ['arrays', 'pickle'])
@pytest.mark.parametrize(('command', 'names'), [
    (['tools/fuse_scores.py', 'EVIL'], SCORES),
    (['tools/visualizations/analyze_results.py', 'EVIL'], SCORES),
    (['tools/visualizations/visualize_ranks.py', 'EVIL'], FEATURES),
    (['tools/search_gallery.py', 'search', 'EVIL', 'query', '--checkpoint', 'x.pth'],
     GALLERY)])
def test_tools_of_arrays(nest, tmp_path, command, names, kind):
    path, marker = tmp_path / 'evil.npz', tmp_path / 'it ran'
    if kind == 'arrays':
        write_arrays(path, marker, names)
        list(np.load(path, allow_pickle=True).values())
        assert marker.exists()  # it is dangerous
        marker.unlink()
    else:
        write_pickle(path, marker)
    done = nest.run(*(path if word == 'EVIL' else word for word in command),
                    cwd=tmp_path)
    assert_harmless(done, marker, str(path), 'allow_pickle=False' if kind == 'arrays'
                   else 'is not a')


def test_report_of_a_folder(nest, trained, demo_root, tmp_path, evil):
    """Beside the files of a real training: these are shown, the others are named."""
    path, marker = evil
    work_dir = tmp_path / 'work'
    shutil.copytree(trained, work_dir)
    write_checkpoint(work_dir / 'best_acc_top1_epoch_9.pth', marker)
    write_checkpoint(work_dir / 'best_acc_top1_epoch_8.pth', marker, zipped=False)
    write_arrays(work_dir / 'scores.npz', marker, SCORES)
    write_arrays(work_dir / 'features.npz', marker, FEATURES)
    write_pickle(work_dir / 'other.npz', marker)
    for name in ('scalars.json', 'test.json', 'all_splits.json'):
        write_pickle(work_dir / name, marker)
    (work_dir / 'config.py').write_text(EVIL_CONFIG.format(str(marker)))
    done = nest.ok('tools/report.py', work_dir, '--data-root', demo_root, '--no-masks',
                   cwd=tmp_path)
    assert not marker.exists()
    for name in ('best_acc_top1_epoch_9.pth', 'best_acc_top1_epoch_8.pth',
                 'scores.npz', 'features.npz', 'other.npz'):
        assert name in done.stdout
    assert (work_dir / 'report.html').stat().st_size > 10_000


# -- configs in files that would import, download or unpickle ------------------------


CALL = """
import numpy as np
from cosam_mm import {0}
model = {0}('evil.pth', device='cpu')
model.predict(np.zeros((9, 64, 64, 3), np.uint8))
"""


@pytest.mark.parametrize(('name', 'how', 'command'), [
    *(('action', how, ['ActionRecognizer'])
      for how in ('address', 'module', 'scope', 'default scope', 'pipeline')),
    ('action', 'address', ['tools/demo.py', 'EVIL', 'clip.mp4']),
    ('action', 'module', ['tools/deployment/export.py', 'EVIL', '--format', 'program']),
    ('reid', 'scope', ['TrackletEncoder']),
    ('reid', 'module', ['tools/search_gallery.py', 'index', 'EVIL', '.', '--out',
                        'a.npz'])])
def test_only_listed_types_are_built(nest, repo, tmp_path, name, how, command):
    path = tmp_path / 'evil.pth'
    with listener() as (url, asked):
        change_config(repo / f'tests/data/written_by_0_1/{name}.pth', path,
                      lambda cfg: make_hostile(cfg, how, url))
        done = nest.run_code(CALL.format(*command), tmp_path) if len(command) == 1 \
            else nest.run(*(path if word == 'EVIL' else word for word in command),
                          cwd=tmp_path)
    assert asked == []
    assert 'Zen of Python' not in done.stdout
    assert 'out of a file' in done.stderr
    assert done.returncode != 0
    assert sorted(set(tmp_path.iterdir()) - {tmp_path / 'code.py'}) == [path]


def test_report_builds_no_data_set_that_unpickles(nest, repo, tmp_path):
    marker, work_dir = tmp_path / 'it ran', tmp_path / 'work'
    work_dir.mkdir()
    write_pickle(work_dir / 'evil.pkl', marker)
    path = change_config(
        repo / 'tests/data/written_by_0_1/action.pth', work_dir / 'epoch_1.pth',
        lambda cfg: setattr(cfg.test_dataloader, 'dataset', dict(
            type='mmaction.PoseDataset', ann_file=str(work_dir / 'evil.pkl'),
            pipeline=cfg.test_dataloader.dataset.pipeline)))
    (work_dir / 'config.py').write_text(read_checkpoint(path)['meta']['cfg'])
    nest.ok('tools/report.py', work_dir, '--data-root', tmp_path, cwd=tmp_path)
    assert not marker.exists()
    assert 'out of a file' in (work_dir / 'report.html').read_text()

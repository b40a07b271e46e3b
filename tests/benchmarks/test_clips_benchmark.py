"""The benchmark of clips: its parts run, both sides see the same clips."""
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from mmengine.registry import DefaultScope

from benchmarks.harness import Options
from benchmarks.suite import clips
from tests.tool_process import run_fresh
from tests.video_data import write_video


def test_quick_run(repo, tmp_path):
    """Synthetic files: all parts but the slow ones of the loader."""
    path = tmp_path / 'out.json'
    parts = [part for part in clips.PARTS if part != 'workers']
    done = run_fresh(
        sys.executable, '-m', 'benchmarks', 'clips', '--quick', '--seconds', '0.1',
        '--parts', *parts, '--json', path, cwd=repo)
    assert done.returncode == 0, done.stderr
    metrics = json.loads(path.read_text())['metrics']
    assert {one['part'] for one in metrics} == set(parts)
    errors = {one['name']: one['summary']['median'] for one in metrics
              if one['part'] == 'pixels'}
    assert len(errors) == 4
    assert max(errors.values()) <= clips.MOST_LEVELS
    shares = {}
    for one in metrics:
        if one['part'] == 'profile':
            size = one['name'].split(', ')[1]
            shares[size] = shares.get(size, 0) + one['summary']['median']
    assert list(shares.values()) == pytest.approx([1, 1])


def test_both_pipelines_choose_the_same_clip(tmp_path):
    pytest.importorskip('decord')
    # Of frames of 16 colours, every clip but the same one is far off.
    files = [write_video(tmp_path / f'{k}.avi', 90 + k, 'MJPG') for k in range(2)]
    with DefaultScope.overwrite_default_scope('mmaction'):
        found = {name: clips.Clips(steps, files, 3)
                 for name, steps in clips._pipelines(112).items()}
        for index in range(2):
            ours, stock = found['ours'][index], found['stock'][index]
            assert ours.shape == stock.shape == (1, 3, 64, 112, 112)
            assert (ours.short() - stock.short()).abs().max() <= clips.MOST_LEVELS
            assert not np.array_equal(ours, found['ours'][1 - index])


class TestVideos:

    def test_folder(self, tmp_path):
        (tmp_path / 'deep').mkdir()
        for k in range(30):
            write_video(tmp_path / 'deep' / f'{k:02}.avi', 2, 'MJPG')
        (tmp_path / 'broken.avi').write_text('no video')
        (tmp_path / 'notes.txt').write_text('no video')
        with clips._videos(Options((), videos=tmp_path)) as files:
            names = [Path(file).name for file in files]
        assert len(names) == clips.MOST_FILES - 1  # decord refuses the broken one
        assert names == sorted(names)
        assert names[-1] == '29.avi'

    def test_empty_folder(self, tmp_path):
        with pytest.raises(SystemExit, match='videos'), \
                clips._videos(Options((), videos=tmp_path)):
            pass

    def test_no_such_folder(self, repo, tmp_path):
        done = run_fresh(sys.executable, '-m', 'benchmarks', 'clips', '--videos',
                         tmp_path / 'gone', cwd=repo)
        assert done.returncode == 2
        assert 'gone: there is no such folder' in done.stderr

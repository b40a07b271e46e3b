"""The benchmark of clips: both sides see the same clips."""
from pathlib import Path

import numpy as np
import pytest
from mmengine.registry import DefaultScope

from benchmarks.harness import Options
from benchmarks.suite import clips
from tests.video_data import write_video


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


def test_videos_of_a_folder(tmp_path):
    for name in ('deep', 'empty'):
        (tmp_path / name).mkdir()
    for k in range(30):
        write_video(tmp_path / 'deep' / f'{k:02}.avi', 2, 'MJPG')
    for name in ('broken.avi', 'notes.txt'):
        (tmp_path / name).write_text('no video')
    with clips._videos(Options((), videos=tmp_path)) as files:
        names = [Path(file).name for file in files]
    assert len(names) == clips.MOST_FILES - 1  # decord refuses the broken one
    assert names == sorted(names)
    assert names[-1] == '29.avi'
    with pytest.raises(SystemExit, match='videos'), \
            clips._videos(Options((), videos=tmp_path / 'empty')):
        pass

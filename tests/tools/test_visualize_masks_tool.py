"""``tools/visualizations/visualize_masks.py`` as a process."""
import re

import pytest
from PIL import Image

TOOL = 'tools/visualizations/visualize_masks.py'


@pytest.fixture(scope='module')
def videos(demo_root):
    return sorted((demo_root / 'videos').rglob('*.avi'))[:2]


def test_files_of_videos(nest, tiny_config, trained, videos, tmp_path):
    av = pytest.importorskip('av')
    done = nest.ok(TOOL, tiny_config, trained / 'epoch_2.pth', videos[0], '--before',
                   '--format', 'both', '--num-frames', 4, '--fps', 5, '--out', 'new',
                   cwd=tmp_path)
    assert 'it/s' not in done.stderr                       # no bar without a terminal
    written = done.stdout.split('\n')[:-1]
    assert [line for line in written if not (tmp_path / line).is_file()] == []
    ends = [re.search(r'_(masks|channels)\.\w+$', line)[0] for line in written]
    assert ends == ['_masks.png', '_masks.mp4', '_masks.gif', '_channels.png']
    with av.open(str(tmp_path / written[1])) as container:
        stream = container.streams.video[0]
        assert stream.average_rate == 5
        assert len(list(container.decode(stream))) == 20   # each frame of it once
    with Image.open(tmp_path / written[2]) as gif:
        assert gif.n_frames == 20


def test_untrained_weights_of_one_layer(nest, tiny_config, videos, tmp_path):
    nest.ok(TOOL, tiny_config, 'none', videos[0], '--layers', 'layer3',
            '--format', 'gif', '--range', 'layer', '--alpha', 1, cwd=tmp_path)
    assert sorted(path.suffix for path in (tmp_path / 'masks').iterdir()) == [
        '.gif', '.png', '.png']

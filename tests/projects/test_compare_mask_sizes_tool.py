"""``tools/analysis_tools/compare_mask_sizes.py`` as a process."""
import re

from PIL import Image

TOOL = 'tools/analysis_tools/compare_mask_sizes.py'


def test_table_and_picture(nest, trained, demo_root, tmp_path):
    videos = sorted((demo_root / 'videos').rglob('*.avi'))[:2]
    done = nest.run(TOOL, trained / 'epoch_2.pth', *videos, '--lengths', 16, 48,
                    '--scales', 2, '--out', 'new/masks.png', cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert 'backbone.plugins.after_layer3.0, 2 video(s)' in done.stdout
    rows = re.findall(r'^ *(\d+ x \d+ x \d+) +(\d+ x \d+ x \d+) +(-?\d\.\d{3}) ',
                      done.stdout, re.M)
    assert [row[:2] for row in rows] == [
        ('32 x 56 x 56', '4 x 4 x 4'), ('16 x 56 x 56', '2 x 4 x 4'),
        ('48 x 56 x 56', '6 x 4 x 4'), ('32 x 112 x 112', '4 x 7 x 7')]
    assert rows[0][2] == '1.000'
    with Image.open(tmp_path / 'new' / 'masks.png') as picture:
        assert min(picture.size) > 200


def test_wrong_arguments(nest, trained, tmp_path):
    done = nest.run(TOOL, trained / 'epoch_2.pth', 'no.avi', cwd=tmp_path)
    assert done.returncode == 2
    assert re.search(r'^error: .*no\.avi', done.stderr, re.M)
    done = nest.run(TOOL, trained / 'epoch_2.pth', 'no.avi', '--lengths', 0,
                    cwd=tmp_path)
    assert done.returncode == 2
    assert 'error: Lengths and scales are positive' in done.stderr

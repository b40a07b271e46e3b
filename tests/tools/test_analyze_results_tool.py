"""``tools/visualizations/analyze_results.py`` as a process, on files made by hand."""
import hashlib

import numpy as np
import pytest
import torch
from PIL import Image

from cosam_mm.evaluation.metrics.action_metric import save_scores
from tests.action_data import write_data_root
from tests.tool_process import assert_refused

TOOL = 'tools/visualizations/analyze_results.py'
IDS = [f'class {k % 2}/clip (a&b) {k}' for k in range(4)]
PLOTS = ['class_accuracy.png', 'confusion.png']
COMPARED = ['class_gain.png', 'comparison.png']
STRIPS = ['confused_pairs.png', 'hardest_clips.png']


def write(path, prob, **changes):
    save_scores(str(path), {**dict(
        sample_id=IDS, score=prob, label=[0, 1, 0, 1], unreadable=[False] * 4,
        dataset='demo', split=1, score_type='prob'), **changes})


@pytest.fixture
def files(tmp_path):
    """Two models: the first gets clips 0, 2, 3 right, the second 0, 1, 3."""
    write(tmp_path / 'plain.npz', [[.9, .1], [.7, .3], [.6, .4], [.2, .8]])
    write(tmp_path / 'cosam.npz', [[.8, .2], [.4, .6], [.3, .7], [.1, .9]])
    return tmp_path


def written(folder):
    return sorted(path.name for path in folder.iterdir())


def rows_below(printed, title):
    """The lines of a table, split at two spaces and more."""
    block = printed.split(f'\n{title}\n')[1].split('\n\n')[0]
    return [[cell.strip() for cell in line.split('  ') if cell.strip()]
            for line in block.splitlines()[1:]]


def test_one_result(nest, files):
    done = nest.ok(TOOL, 'plain.npz', cwd=files)
    assert done.stdout.startswith('plain.npz: 4 clips of 2 classes\n  top1 0.7500  '
                                  'mean1 0.7500  cross_entropy 0.5108\n')
    assert rows_below(done.stdout, 'Most confused pairs') == [
        ['class 1', 'class 0', '1', '50.0%']]
    assert rows_below(done.stdout, 'Hardest clips')[0] == [
        IDS[1], 'class 1', '0.3000', 'class 0', '0.7000']
    assert written(files / 'plain_analysis') == PLOTS
    assert '--data-root' in done.stdout
    with Image.open(files / 'plain_analysis' / 'confusion.png') as image:
        assert min(image.size) > 400


def test_comparison_with_frames(nest, files):
    root = write_data_root(files / 'data', 'demo', 2)
    (root / 'names.txt').write_text('walk\nrun\x1b[31m\n')
    done = nest.ok(TOOL, 'plain.npz', '--compare', 'cosam.npz', '--data-root', 'data',
                   '--classes', 'data/names.txt', '--out', 'plots', '--topk', '3',
                   cwd=files)
    assert written(files / 'plots') == sorted(
        [*PLOTS, *COMPARED, *STRIPS, 'changed_clips.png'])
    assert rows_below(done.stdout, 'Clip by clip')[:2] == [
        ['first right', '2', '1'], ['first wrong', '1', '0']]
    assert 'with p = 1 (McNemar' in done.stdout
    # A terminal would turn red at the name as it stands in the file.
    assert '\x1b' not in done.stdout
    assert rows_below(done.stdout, 'Won by the second: 1 clips') == [
        [IDS[1], 'run?[31m', 'walk', 'run?[31m']]
    assert rows_below(done.stdout, 'Lost by the second: 1 clips') == [
        [IDS[2], 'walk', 'walk', 'run?[31m']]
    assert rows_below(done.stdout, 'Classes that change') == [
        ['run?[31m', '2', '1', '0', '+50.0'], ['walk', '2', '0', '1', '-50.0']]


def test_config_tells_where_the_clips_are(nest, files, demo_root, tiny_config):
    write(files / 'eight.npz', np.eye(4, 8)[[1, 0, 2, 3]] + .1, score_type='logit')
    config = files / 'config.py'
    config.write_text(f'_base_ = [{str(tiny_config)!r}]\n'
                      f'test_dataloader = dict(dataset=dict(data_root='
                      f'{str(demo_root)!r}))\n')
    (demo_root / 'videos' / f'{IDS[1]}.avi').stat()  # it is there
    done = nest.ok(TOOL, 'eight.npz', '--config', 'config.py', cwd=files)
    assert set(STRIPS) <= set(written(files / 'eight_analysis'))
    assert rows_below(done.stdout, 'Most confused pairs')[0][:2] == [
        'class 0', 'class 1']


def test_scores_of_another_checkpoint(nest, files):
    weights = torch.arange(3.)
    torch.save(dict(state_dict=dict(w=weights)), files / 'a.pth')
    own = hashlib.sha256(b'w torch.float32 (3,)\n' + weights.numpy().tobytes())
    for digest, is_said in ((own.hexdigest(), False), ('f' * 64, True), ('', True)):
        write(files / 'plain.npz', np.eye(4, 2), weights_sha256=digest)
        done = nest.ok(TOOL, 'plain.npz', '--checkpoint', 'a.pth', cwd=files)
        assert (' weights' in done.stdout) is is_said
        assert ('f' * 12 in done.stdout) is (digest[:1] == 'f')


@pytest.mark.parametrize(('arguments', 'word'), [
    (['none.npz'], 'none.npz'), (['plain.npz', '--config', 'none.py'], 'none.py'),
    (['plain.npz', '--data-root', 'none'], "'none'"),
    (['plain.npz', '--checkpoint', 'none.pth'], 'none.pth'),
    (['plain.npz', '--compare', 'other.npz'], 'other.npz'),
    (['plain.npz', '--topk', '0'], 'got 0')])
def test_errors_are_one_line(nest, files, arguments, word):
    write(files / 'other.npz', np.eye(4, 2), sample_id=['a', 'b', 'c', 'd'])
    assert_refused(nest.run(TOOL, *arguments, cwd=files), word)

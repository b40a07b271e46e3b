"""``tools/visualizations/visualize_ranks.py`` as a process, on a small feature file."""
import numpy as np
import pytest
from PIL import Image

from cosam_mm.evaluation.reid_features import save_features
from tests.gallery_data import reid_config, write_checkpoint
from tests.ranking_data import small_config, small_features, write_tracklets
from tests.tool_process import assert_refused

TOOL = 'tools/visualizations/visualize_ranks.py'


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Features, and a config in a folder below, as a training leaves it."""
    folder = tmp_path_factory.mktemp('ranks')
    write_tracklets(folder / 'data')
    save_features(str(folder / 'f.npz'), small_features())
    (folder / 'run').mkdir()
    small_config('nowhere').dump(folder / 'run' / 'config.py')
    return folder


def colours(path):
    return {tuple(colour) for colour in np.unique(
        np.asarray(Image.open(path)).reshape(-1, 3), axis=0)}


def test_config_and_data_are_found_beside_the_feature_file(nest, folder):
    done = nest.ok(TOOL, 'f.npz', cwd=folder)
    out = done.stdout
    assert '|' not in done.stderr  # no bar where no terminal looks on
    for name in ('cmc', 'distances', 'best', 'worst'):
        assert f'f_ranks/{name}.png\n' in out
        assert (folder / 'f_ranks' / f'{name}.png').is_file()
    assert 'best.png\n  Best: query query/2/1/a, camera 1. AP 100.0 %, ' in out
    assert 'worst.png\n  Worst: query query/1/1/a, camera 1. AP 50.0 %, ' in out
    assert 'the euclidean distance of ' in out
    assert {(0, 250, 0), (0, 150, 0), (200, 0, 0)} <= colours(
        folder / 'f_ranks' / 'best.png')


def test_chosen_queries_of_a_named_config(nest, folder, tmp_path):
    config = tmp_path / 'config.py'
    small_config(folder / 'data', test_evaluator=dict(
        type='ReIDMetric', distance='cosine')).dump(config)
    out = nest.ok(
        TOOL, folder / 'f.npz', '--config', config, '--query', 'query/3/1/a',
        'query/1/1/a', '--topk', 1, '--rerank', '--out', tmp_path / 'o',
        cwd=tmp_path).stdout
    assert 'the cosine distance of ' in out
    assert 'query query/3/1/a, camera 1. No positive match' in out
    assert not (tmp_path / 'o' / 'best.png').exists()
    found = colours(tmp_path / 'o' / 'queries.png')
    assert {(0, 0, 250), (250, 0, 0)} <= found


def test_masks(nest, folder, tmp_path):
    cosam = dict(type='COSAM', num_frames=4, spatial_size=(2, 1))
    checkpoint = write_checkpoint(tmp_path / 'm.pth', reid_config(
        plugins=[dict(cfg=cosam, position='after_layer3')]))
    out = nest.ok(
        TOOL, folder / 'f.npz', '--data-root', folder / 'data', '--masks', checkpoint,
        '--num', 1, '--frames', 2, '--out', tmp_path / 'o', cwd=tmp_path).stdout
    assert 'best.png' in out
    assert 'f.npz: no file says which weights' in out
    assert (0, 250, 0) not in colours(tmp_path / 'o' / 'best.png')
    assert_refused(nest.run(
        TOOL, folder / 'f.npz', '--masks', checkpoint, '--layer', 'layer9', '--out',
        tmp_path / 'o', cwd=tmp_path), "'layer9'", 'after_layer3')


def test_no_positive_match_and_images_of_other_data(nest, folder, tmp_path):
    save_features(str(tmp_path / 'f.npz'), small_features(pid=np.arange(1, 8)))
    names = np.array([f'../data/{k}' for k in range(7)])
    save_features(str(tmp_path / 'g.npz'), small_features(tracklet_id=names))
    where = ('--config', folder / 'run' / 'config.py', '--data-root', folder / 'data')
    out = nest.ok(TOOL, 'f.npz', *where, cwd=tmp_path).stdout
    assert 'no CMC and no AP' in out
    assert out.endswith('no query for best.png\nno query for worst.png\n')
    out = nest.ok(TOOL, 'g.npz', *where, cwd=tmp_path).stdout
    assert '2 queries have no image' in out


@pytest.mark.parametrize(('arguments', 'word'), [
    (['missing.npz'], 'missing.npz'),
    (['f.npz', '--config', 'missing.py'], 'missing.py'),
    (['f.npz', '--query', 'q/9'], "'q/9'"), (['f.npz', '--topk', '0'], 'got 0'),
    (['f.npz', '--layer', 'x'], '--masks'),
    (['f.npz', '--data-root', 'elsewhere'], 'elsewhere'),
])
def test_mistakes_in_one_line(nest, folder, arguments, word):
    assert_refused(nest.run(TOOL, *arguments, cwd=folder), word)

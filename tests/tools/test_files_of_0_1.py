"""Checkpoints, scores, features and galleries that version 0.1 wrote are read today."""
import re
import shutil
from itertools import product

import numpy as np
import pytest

from cosam_mm import ActionRecognizer, TrackletEncoder
from cosam_mm.apis.gallery import Gallery
from cosam_mm.evaluation.metrics.action_metric import load_scores
from cosam_mm.evaluation.reid_features import load_features
from cosam_mm.utils.io import read_checkpoint
from tests.action_data import write_data_root
from tests.gallery_data import write_tracklet
from tests.reference.naive_retrieval import naive_distances, naive_retrieval
from tests.tool_process import assert_refused

# What version 0.1 logged: a test, and the losses when training went on.
LOGGED = {
    'action': (r'acc/cross_entropy: (\S+)', [1.9810], [2.0808, 2.1356]),
    'reid': (r'reid/mAP: (\S+)', [0.3624], [1.8613])}


@pytest.fixture(scope='module')
def files(repo):
    return repo / 'tests' / 'data' / 'written_by_0_1'


@pytest.fixture(scope='module')
def expected(files):
    with np.load(files / 'expected.npz') as arrays:
        return dict(arrays)


@pytest.fixture(scope='module')
def folder(files, tmp_path_factory):
    """Data where the configs look for it, and the configs of the checkpoints."""
    folder = tmp_path_factory.mktemp('old')
    write_data_root(folder / 'demo', 'demo', 8, train_seed=0)
    for person, camera, k in product(range(8), range(2), range(2)):
        write_tracklet(folder / 'people' / f'p{person}' / f'c{camera}' / f't{k}',
                       5 + k, 10 * person + camera)
    for name in ('action', 'reid'):
        meta = read_checkpoint(files / f'{name}.pth')['meta']
        (folder / f'{name}.py').write_text(meta['cfg'])
    return folder


def numbers(pattern, log):
    return [float(text) for text in re.findall(pattern, log)]


FORMER = {'action': [], 'reid': [
    f'{part}.person_split=shuffle' for part in (
        'train_dataloader.dataset', 'val_dataloader.dataset.query',
        'val_dataloader.dataset.gallery', 'test_dataloader.dataset.query',
        'test_dataloader.dataset.gallery')]}


@pytest.mark.parametrize('command', [
    ['tools/test.py', 'reid.py', 'reid.pth'],
    ['tools/train.py', 'reid.py', '--resume', 'reid.pth', '--work-dir', 'run_refused']])
def test_persons_of_another_part_are_said(nest, files, folder, command):
    shutil.copy(files / 'reid.pth', folder)
    assert_refused(nest.run(*command, cwd=folder), 'set person_split=shuffle')


@pytest.mark.parametrize('name', ['action', 'reid'])
def test_checkpoint_is_tested(nest, files, folder, name):
    """Forced: the clips that it was trained on were equal to those that test it."""
    pattern, metric, _ = LOGGED[name]
    done = nest.ok('tools/test.py', f'{name}.py', files / f'{name}.pth',
                   '--force', '--cfg-options', 'test_dataloader.num_workers=0',
                   *FORMER[name], cwd=folder)
    assert numbers(pattern, done.stdout)[-1:] == pytest.approx(metric, abs=1e-3)


@pytest.mark.parametrize('name', ['action', 'reid'])
def test_training_is_resumed(nest, files, folder, name):
    *_, losses = LOGGED[name]
    shutil.copy(files / f'{name}.pth', folder)
    done = nest.ok('tools/train.py', f'{name}.py', '--resume', f'{name}.pth',
                   '--work-dir', f'run_{name}', '--cfg-options',
                   'train_cfg.max_epochs=2', *FORMER[name], cwd=folder)
    assert numbers(r'Epoch\(train\).* loss: (\S+)', done.stdout) == pytest.approx(
        losses, rel=1e-3)


def test_action_recognizer(files, expected):
    recognizer = ActionRecognizer(files / 'action.pth', device='cpu')
    found = recognizer.predict(expected['frames'])
    np.testing.assert_allclose(found.score, expected['action_score'], rtol=1e-3,
                               atol=1e-5)
    assert found.classes[0].name == 'c4'


def test_gallery_is_searched_with_its_checkpoint(files, expected):
    encoder = TrackletEncoder(files / 'reid.pth', device='cpu')
    feature = encoder.encode(expected['tracklet'])
    np.testing.assert_allclose(feature, expected['reid_feature'], rtol=1e-3, atol=1e-5)
    gallery = Gallery.read(files / 'gallery.npz')
    gallery.check_fit(encoder, 'gallery.npz')
    found = gallery.search(feature[None], 5)
    assert found.index[0].tolist() == expected['nearest'].tolist()
    np.testing.assert_allclose(found.distance[0], expected['nearest_distance'],
                               rtol=1e-3)


def test_scores_and_features(files):
    scores = load_scores(files / 'scores.npz')
    assert (scores['dataset'], scores['split']) == ('demo', 1)
    row = scores['score'].astype(float)
    own = row[np.arange(4), scores['label']]
    loss = np.mean(np.log(np.exp(row).sum(1)) - own)
    assert loss == pytest.approx(LOGGED['action'][1][0], abs=1e-3)
    features = load_features(files / 'features.npz')
    parts = [features['subset'] == subset for subset in ('query', 'gallery')]
    distances = naive_distances(
        *(features['feature'][part].tolist() for part in parts), 'euclidean')
    ids = [features[key][part].tolist() for key in ('pid', 'camid') for part in parts]
    _, _, mean_ap, _ = naive_retrieval(distances, *ids, 20)
    assert mean_ap == pytest.approx(LOGGED['reid'][1][0], abs=1e-3)

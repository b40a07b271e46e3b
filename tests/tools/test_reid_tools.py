"""Train and test re-identification as a user does: drawn persons, real processes.

One small model is trained on four drawn persons; most tests look at what
``tools/test.py`` makes of its checkpoint.
"""
import csv
import json
import re
import shutil

import cv2
import numpy as np
import pytest
import torch
from scipy.io import loadmat, savemat

from cosam_mm.datasets.synthetic.reid_dataset_files import generate_reid_dataset
from cosam_mm.evaluation.metrics.reid_metric import evaluate_features, load_features
from tests.reference.naive_retrieval import (
    naive_distances,
    naive_rerank,
    naive_retrieval,
)

NUM_PERSONS, NUM_QUERIES, NUM_GALLERY = 5, 10, 12  # of the test; 2 are distractors
FIGURES = ('mAP', 'R1', 'R5', 'R10', 'R20', 'mINP')
TINY = """
_base_ = [{base!r}]
model = dict(backbone=dict(base_channels=8), head=dict(num_pids=4))
train_cfg = dict(max_epochs=2, val_interval=1)
param_scheduler = [dict(type='OneCycleLR', eta_max=4e-3, total_steps=2,
                        convert_to_iter_based=True)]
in_process = dict(num_workers=0, persistent_workers=False)
train_dataloader = dict(
    batch_size=8, sampler=dict(num_pids_per_batch=4, num_tracklets_per_pid=2),
    **in_process)
val_dataloader = in_process
test_dataloader = in_process
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=1))
"""
OTHER_MARS = """
_base_ = [{base!r}]
part = dict(data_root={root!r}, name='strangers')
test_dataloader = dict(dataset=dict(query=part, gallery=part))
"""
OTHER_FOLDER = """
_base_ = [{base!r}]
part = dict(
    _delete_=True, type='TrackletFolder', data_root={root!r}, train_fraction=0,
    name='my people', pipeline={{{{_base_.test_pipeline}}}})
test_dataloader = dict(dataset=dict(query=part, gallery=part))
"""
ILIDS = """
_base_ = [{base!r}]
num_splits = 10
part = dict(type='ILIDSVID', name='ilids', split=1)
parts = dict(dataset=dict(query=part, gallery=part))
train_dataloader = dict(dataset=part)
val_dataloader = parts
test_dataloader = parts
"""
WITH_QUERIES = [f'test_dataloader.dataset.{part}.query_in_gallery=True'
                for part in ('query', 'gallery')]


def logged_figures(log, mode='test'):
    """What the last test, or validation, of a log says after "reid/", by name."""
    line = [line for line in log.splitlines() if f'Epoch({mode})' in line][-1]
    parts = re.split(r'\s{2,}', line)
    return dict(re.fullmatch(r'reid/(\S+): ?(.*)', part).groups()
                for part in parts if part.startswith('reid/'))


def written_figures(work_dir):
    """What the JSON file of the only test in a work dir says."""
    (path,) = work_dir.glob('*/*.json')
    return {name.removeprefix('reid/'): value
            for name, value in json.loads(path.read_text()).items()}


def naive_figures(features, rerank=False):
    """Figures of a feature file from the definitions."""
    rows = [features['subset'] == subset for subset in ('query', 'gallery')]
    vectors = [features['feature'][own].tolist() for own in rows]
    ids = [features[key][own].tolist() for key in ('pid', 'camid') for own in rows]
    distances = (naive_rerank(*vectors, 20, 6, .3) if rerank
                 else naive_distances(*vectors, 'euclidean'))
    _, cmc, mean_ap, mean_inp = naive_retrieval(distances, *ids, 20)
    return dict(mAP=mean_ap, mINP=mean_inp, R1=cmc[0], R5=cmc[4], R10=cmc[9],
                R20=cmc[19])


def assert_error(done, *messages):
    """The tool ended with one line that says so, without a traceback."""
    assert done.returncode == 2, done.stderr
    assert 'Traceback' not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith('error: ')
    for message in messages:
        assert message in last


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """Four drawn persons to train on, five to test on, in two cameras."""
    return generate_reid_dataset(
        tmp_path_factory.mktemp('reid') / 'my demo', 4, NUM_PERSONS, num_cameras=2,
        num_distractors=2, num_junk=1, progress=False)


@pytest.fixture
def copied(root, tmp_path):
    """The drawn persons, to be damaged."""
    return shutil.copytree(root, tmp_path / 'damaged')


@pytest.fixture(scope='module')
def config(repo, tmp_path_factory):
    path = tmp_path_factory.mktemp('config') / 'small.py'
    path.write_text(TINY.format(
        base=str(repo / 'configs' / 'reid' / 'resnet14_cosam45_tp_demo.py')))
    return path


@pytest.fixture(scope='module')
def reid_training(nest, config, root, tmp_path_factory):
    """(log, work dir) of a finished training."""
    cwd = tmp_path_factory.mktemp('training')
    done = nest.run('tools/train.py', config, '--data-root', root, '--seed', 0, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout, cwd / 'work_dirs' / 'small'


@pytest.fixture(scope='module')
def checkpoint(reid_training):
    return reid_training[1] / 'epoch_2.pth'


@pytest.fixture
def test(nest, config, checkpoint, root, tmp_path):
    """Runs tools/test.py; the process, figures in ``tmp_path / 'out'``."""
    def run(*arguments, data_root=root, config=config):
        data = () if data_root is None else ('--data-root', data_root)
        return nest.run('tools/test.py', config, checkpoint, '--work-dir', 'out',
                        *data, *arguments, cwd=tmp_path)
    return run


@pytest.fixture(scope='module')
def everything(nest, config, checkpoint, root, tmp_path_factory):
    """(log, JSON figures, features) of a test with all that there is to ask for."""
    cwd = tmp_path_factory.mktemp('everything')
    done = nest.run(
        'tools/test.py', config, checkpoint, '--data-root', root, '--rerank',
        '--attributes', root / 'info' / 'attributes.csv', '--dump', 'new/features.npz',
        '--work-dir', 'out', cwd=cwd)
    assert done.returncode == 0, done.stderr
    return (done.stdout, written_figures(cwd / 'out'),
            load_features(cwd / 'new' / 'features.npz'))


# -- training ----------------------------------------------------------------


def learning_rates(log):
    return re.findall(r'Epoch\(train\)\s+\[(\d+)\]\[1/1\]\s+lr: (\S+)', log)


def test_trains_validates_and_keeps_the_best(reid_training):
    log, work_dir = reid_training
    assert [epoch for epoch, _ in learning_rates(log)] == ['1', '2']
    assert 'reid_demo train: 16 tracklets' in log
    names = {path.name for path in work_dir.glob('*.pth')}
    assert names >= {'epoch_1.pth', 'epoch_2.pth'}
    assert len([name for name in names if name.startswith('best_reid_mAP_')]) == 1
    meta = torch.load(work_dir / 'epoch_2.pth', weights_only=True)['meta']
    assert meta['dataset_meta'] == dict(
        dataset='reid_demo', subset='train', protocol='gallery without queries',
        split=None, num_tracklets=16, num_pids=4)


def test_resume(nest, config, reid_training, root, tmp_path):
    straight, work_dir = reid_training
    (tmp_path / 'run').mkdir()
    shutil.copy(work_dir / 'epoch_1.pth', tmp_path / 'run')
    (tmp_path / 'run' / 'last_checkpoint').write_text(
        str(tmp_path / 'run' / 'epoch_1.pth'))

    done = nest.run('tools/train.py', config, '--data-root', root, '--work-dir', 'run',
                    '--resume', cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert 'resumed epoch: 1, iter: 1' in done.stdout
    assert learning_rates(done.stdout) == learning_rates(straight)[1:]
    ours = torch.load(tmp_path / 'run' / 'epoch_2.pth', weights_only=True)
    assert (ours['meta']['epoch'], ours['meta']['iter'], ours['meta']['seed']) == (
        2, 2, 0)
    assert logged_figures(done.stdout, 'val').keys() == (
        logged_figures(straight, 'val').keys())


# -- figures -----------------------------------------------------------------


def test_figures_agree_with_the_definitions(everything):
    log, written, features = everything
    expected = naive_figures(features)
    assert written['mAP'] == pytest.approx(expected['mAP'], abs=1e-6)
    for name in FIGURES:
        assert written[name] == pytest.approx(expected[name], abs=1e-6)
        assert logged_figures(log)[name] == f'{written[name]:.4f}'


def test_validation_of_training_gave_the_same(reid_training, everything):
    validated = logged_figures(reid_training[0], 'val')
    for name, value in validated.items():
        if name != 'rerank':
            assert logged_figures(everything[0])[name] == value


def test_figures_say_what_made_them(everything):
    log, written, _ = everything
    stated = dict(dataset='reid_demo', protocol='gallery without queries',
                  clip_sampling='all_clips, 4 frames', distance='euclidean', split='')
    counts = dict(num_valid_queries=NUM_QUERIES, num_queries=NUM_QUERIES,
                  num_gallery=NUM_GALLERY, num_unreadable=0,
                  num_queries_without_truth=0)
    for name, value in dict(stated, **counts).items():
        assert written[name] == value
    for name, value in stated.items():
        assert logged_figures(log)[name] == value
    assert logged_figures(log)['num_valid_queries'] == '10.0000'
    assert ('reid_demo, protocol: gallery without queries; clips: all_clips, 4 frames; '
            'euclidean distance: mAP ') in log
    assert 'Means over 10 of 10 queries against 12 gallery tracklets' in log


def test_reranked_figures(everything):
    log, written, features = everything
    expected = naive_figures(features, rerank=True)
    for name in FIGURES:
        assert written[f'rerank_{name}'] == pytest.approx(expected[name], abs=1e-6)
    assert written['rerank'] == 'k1=20, k2=6, lambda_value=0.3'
    assert 'Re-ranked (k1=20, k2=6, lambda_value=0.3): mAP ' in log


def test_figures_by_attribute(everything, root):
    _, written, features = everything
    with open(root / 'info' / 'attributes.csv', newline='') as file:
        carried = {int(row.pop('pid')): row for row in csv.DictReader(file)}
    of_all = evaluate_features(features)
    assert of_all.figures['mAP'] == pytest.approx(written['mAP'])
    names, seen = list(next(iter(carried.values()))), 0
    for name in names:
        chosen = np.array([carried.get(pid, {}).get(name) == '1'
                           for pid in features['pid'].tolist()])
        own = chosen & (features['subset'] == 'query')
        assert written[f'{name}_num_valid_queries'] == own.sum()
        if own.any():
            seen += 1
            kept = own | (features['subset'] == 'gallery')
            some = {key: value[kept] if isinstance(value, np.ndarray) else value
                    for key, value in features.items()}
            assert written[f'{name}_mAP'] == pytest.approx(naive_figures(some)['mAP'])
            assert f'{name}_rerank_R1' in written
    assert seen
    assert written['num_queries_without_attributes'] == 0


def test_features_of_a_file_give_the_same(everything):
    log, written, features = everything
    assert 'Features of 22 tracklets are in new/features.npz' in log
    assert features['feature'].shape[0] == NUM_QUERIES + NUM_GALLERY
    assert features['subset'].tolist() == (
        ['query'] * NUM_QUERIES + ['gallery'] * NUM_GALLERY)
    assert set(features['pid'].tolist()) == {0, *range(5, 5 + NUM_PERSONS)}
    result = evaluate_features(features, rerank=True).as_dict()
    for name, value in result.items():
        assert written[name] == (
            value if isinstance(value, str) else pytest.approx(value))


@pytest.mark.parametrize(('text', 'message'), [
    (None, "The attribute file 'a.csv' does not exist"),
    ('person,hat\n5,1\n', 'the first line must be "pid" or "tracklet_id"'),
    ('pid,hat\n5,yes\n', "line 2: attributes must be 0 or 1, got 'yes'"),
    ('pid,hat\n777,1\n', 'None of the 10 queries has its pid among the 1')])
def test_wrong_attribute_file(test, tmp_path, text, message):
    if text is not None:
        (tmp_path / 'a.csv').write_text(text)
    assert_error(test('--attributes', 'a.csv'), message)


def test_options_of_the_reranking(test, tmp_path):
    done = test('--rerank', '--cfg-options', 'test_evaluator.rerank.k1=5')
    assert done.returncode == 0, done.stderr
    written = written_figures(tmp_path / 'out')
    assert written['rerank'] == 'k1=5, k2=6, lambda_value=0.3'
    assert 'rerank_mAP' in written


# -- protocols and other data ------------------------------------------------


def test_queries_in_the_gallery(test, tmp_path):
    done = test('--cfg-options', *WITH_QUERIES)
    assert done.returncode == 0, done.stderr
    written = written_figures(tmp_path / 'out')
    assert written['protocol'] == 'gallery with queries'
    assert (written['num_queries'], written['num_gallery']) == (
        NUM_QUERIES, NUM_QUERIES + NUM_GALLERY)
    assert 'reid_demo, protocol: gallery with queries; ' in done.stdout


def test_queries_and_gallery_of_two_protocols(test):
    assert_error(test('--cfg-options', WITH_QUERIES[1]),
                 'Query and gallery must be of one data set, protocol and split')


@pytest.fixture(scope='module')
def strangers(tmp_path_factory):
    """Other drawn persons, in MARS's layout."""
    return generate_reid_dataset(
        tmp_path_factory.mktemp('strangers') / 'data', 1, 3, num_cameras=2, seed=1,
        num_distractors=1, num_junk=0, progress=False)


def test_another_data_set(test, config, strangers, tmp_path):
    other = tmp_path / 'other.py'
    other.write_text(OTHER_MARS.format(base=str(config), root=str(strangers)))
    done = test('--cross-dataset', other, '--dump', 'f.npz', data_root=None)
    assert done.returncode == 0, done.stderr
    written = written_figures(tmp_path / 'out')
    assert (written['dataset'], written['num_queries'], written['num_gallery']) == (
        'strangers', 6, 7)
    features = load_features(tmp_path / 'f.npz')
    assert features['dataset'] == 'strangers'
    assert set(features['pid'].tolist()) == {0, 2, 3, 4}
    assert written['mAP'] == pytest.approx(naive_figures(features)['mAP'], abs=1e-6)
    assert 'strangers, protocol: gallery without queries; ' in done.stdout


def test_folder_of_tracklets(test, config, strangers, tmp_path):
    """--data-root is that of the data that is tested on."""
    for path in (strangers / 'bbox_test').glob('*/*.jpg'):
        pid, camid, tracklet = re.match(r'(\d{4})C(\d)T(\d{4})', path.name).groups()
        if pid != '0000':
            folder = tmp_path / 'people' / pid / camid / tracklet
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, folder)
    other = tmp_path / 'other.py'
    other.write_text(OTHER_FOLDER.format(base=str(config), root='nowhere'))
    done = test('--cross-dataset', other, data_root='people')
    assert done.returncode == 0, done.stderr
    written = written_figures(tmp_path / 'out')
    assert written['dataset'] == 'my people'
    assert written['protocol'] == (
        'gallery with queries (first tracklet of each person and camera)')
    assert (written['num_queries'], written['num_gallery']) == (6, 12)


def test_data_of_an_action_config(test, repo):
    done = test('--cross-dataset',
                repo / 'configs' / 'resnext14_cosam_bert_demo.py')
    assert_error(done, "--cross-dataset: this config is rated by ['ReIDMetric'], the "
                 "other by ['ActionMetric']")


def test_data_without_a_split(test):
    assert_error(test('--split', 2),
                 '--split: no data set of this config has a setting named split')
    assert_error(test('--all-splits'), 'no official splits')


# -- ten splits --------------------------------------------------------------


@pytest.fixture(scope='module')
def ilids(nest, config, tmp_path_factory):
    """(folder, config): iLIDS-VID of 8 persons, its config, ten checkpoints."""
    folder = tmp_path_factory.mktemp('ilids')
    rng = np.random.default_rng(0)
    for person in range(1, 9):
        look = rng.integers(0, 256, (8, 4, 3)).astype(float)
        for camid in (1, 2):
            out = folder / f'i-LIDS-VID/sequences/cam{camid}/person{person:03}'
            out.mkdir(parents=True)
            noisy = np.clip(look + rng.normal(0, 80, look.shape), 0, 255)
            cv2.imwrite(str(out / f'cam{camid}_00001.png'),
                        cv2.resize(noisy.astype(np.uint8), (32, 64)))
    (folder / 'train-test people splits').mkdir()
    savemat(folder / 'train-test people splits/train_test_splits_ilidsvid.mat',
            {'ls_set': np.stack([rng.permutation(8) + 1 for _ in range(10)])})
    own = folder / 'ten.py'
    own.write_text(ILIDS.format(base=str(config)))
    done = nest.run(
        'tools/train.py', own, '--data-root', folder, '--split', 1, '--seed', 0,
        '--no-validate', '--cfg-options', 'train_cfg.max_epochs=1', cwd=folder)
    assert done.returncode == 0, done.stderr
    write_splits(folder / 'work_dirs' / 'ten')
    return folder, own


def write_splits(work_dir):
    """Checkpoints of splits 2 to 10 after that of split 1, with other weights."""
    for split in range(2, 11):
        one = torch.load(work_dir / 'split1' / 'epoch_1.pth', weights_only=True)
        assert one['meta']['dataset_meta']['split'] == 1
        one['meta']['dataset_meta']['split'] = split
        one['meta']['trained_on'] = [dict(dataset='ilids', split=split)]
        weight = one['state_dict']['backbone.conv1.weight']
        generator = torch.Generator().manual_seed(split)
        weight += .1 * torch.randn(weight.shape, generator=generator)
        (work_dir / f'split{split}').mkdir()
        torch.save(one, work_dir / f'split{split}' / 'epoch_1.pth')


def test_mean_of_ten_splits(nest, ilids):
    folder, config = ilids

    done = nest.run(
        'tools/test.py', config, 'work_dirs/ten/split{split}/epoch_1.pth',
        '--all-splits', '--data-root', folder, '--dump', 'features/{split}.npz',
        '--work-dir', 'results', cwd=folder)

    assert done.returncode == 0, done.stderr
    table = loadmat(
        folder / 'train-test people splits/train_test_splits_ilidsvid.mat')['ls_set']
    each = []
    for split in range(1, 11):
        features = load_features(folder / 'features' / f'{split}.npz')
        assert features['split'] == str(split)
        assert set(features['pid'].tolist()) == set(table[split - 1, 4:].tolist())
        each.append(naive_figures(features))
        figures = written_figures(folder / 'results' / f'split{split}')
        assert figures['split'] == str(split)
        assert figures['mAP'] == pytest.approx(each[-1]['mAP'], abs=1e-6)
    written = json.loads((folder / 'results' / 'all_splits.json').read_text())
    printed = [line.split() for line in done.stdout.splitlines()]
    for name in FIGURES:
        values = [figures[name] for figures in each]
        own = written[f'reid/{name}']
        assert own['splits'] == pytest.approx(values, abs=1e-6)
        assert own['mean'] == pytest.approx(sum(values) / 10, abs=1e-6)
        row = [*(f'{value:.4f}' for value in values), f'{sum(values) / 10:.4f}']
        assert [f'reid/{name}', *row] in printed
    assert len(set(written['reid/mAP']['splits'])) > 2
    assert written['reid/num_valid_queries'] == dict(splits=[4] * 10, mean=4)
    assert not any('dataset' in name or 'protocol' in name for name in written)


def test_another_split_is_refused(nest, ilids, tmp_path):
    folder, config = ilids
    done = nest.run(
        'tools/test.py', config, folder / 'work_dirs/ten/split1/epoch_1.pth',
        '--data-root', folder, '--split', 2, cwd=tmp_path)
    assert_error(done, 'The model was trained on split 1 of ilids and would be tested '
                 'on split 2', '--force')


# -- bad input ---------------------------------------------------------------


def test_missing_data_root(test):
    assert_error(test(data_root='nowhere'),
                 "The data root 'nowhere' of reid_demo does not exist", 'bbox_train/')


@pytest.mark.parametrize('name', [
    'query_IDX.mat', 'tracks_test_info.mat', 'test_name.txt'])
def test_missing_index_file(test, copied, name):
    (copied / 'info' / name).unlink()
    assert_error(test(data_root=copied), f"damaged/info/{name}' does not exist")


def test_missing_index_file_in_training(nest, config, copied, tmp_path):
    (copied / 'info' / 'tracks_train_info.mat').unlink()
    done = nest.run('tools/train.py', config, '--data-root', copied, cwd=tmp_path)
    assert_error(done, "tracks_train_info.mat' does not exist")


def query_tracklets(root):
    """Image files of each query tracklet of drawn persons."""
    names = (root / 'info' / 'test_name.txt').read_text().split()
    rows = loadmat(root / 'info' / 'tracks_test_info.mat')['track_test_info']
    query = loadmat(root / 'info' / 'query_IDX.mat')['query_IDX'].ravel() - 1
    return [[root / 'bbox_test' / name[:4] / name for name in names[first - 1:last]]
            for first, last in rows[query.astype(int), :2].tolist()]


def test_unreadable_images(test, copied, tmp_path):
    """One of a tracklet has a stand-in; a tracklet of nothing else is left out."""
    one, other = query_tracklets(copied)[:2]
    one[3].write_bytes(b'no picture')
    for path in other:
        path.write_bytes(path.read_bytes()[:20])
    done = test(data_root=copied)
    assert done.returncode == 0, done.stderr
    log = done.stdout
    assert re.search(rf'WARNING - Unreadable image 1: .*{one[3].name} \(it does not '
                     r'decode\); .* stand in for it', log)
    assert f'like all {len(other)} frames of its tracklet' in log
    assert ("1 tracklets cannot be read and are left out of the figures: "
            f"'{other[0].name[:11]}'") in log
    written = written_figures(tmp_path / 'out')
    assert written['num_unreadable'] == 1
    assert written['num_valid_queries'] == written['num_queries'] == NUM_QUERIES - 1


def test_images_of_another_size(test, copied, tmp_path):
    path = query_tracklets(copied)[0][0]
    cv2.imwrite(str(path), np.zeros((40, 41, 3), np.uint8))
    done = test(data_root=copied)
    assert done.returncode == 0, done.stderr
    assert written_figures(tmp_path / 'out')['num_valid_queries'] == NUM_QUERIES


def rewrite(root, name, key, change):
    """Change the matrix of an index file."""
    path = root / 'info' / name
    matrix = loadmat(path)[key].astype(int)
    savemat(path, {key: change(matrix)})
    return matrix


def test_empty_gallery(test, copied):
    """Every tracklet is a query."""
    rows = loadmat(copied / 'info' / 'tracks_test_info.mat')['track_test_info']
    kept = np.flatnonzero(rows[:, 2] > 0) + 1
    rewrite(copied, 'tracks_test_info.mat', 'track_test_info', lambda m: m[kept - 1])
    rewrite(copied, 'query_IDX.mat', 'query_IDX',
            lambda _: np.arange(1, len(kept) + 1)[None])
    assert_error(test(data_root=copied), 'reid_demo gallery in ',
                 'holds no tracklet of at least 1 image(s)')


def test_unreadable_gallery(test, copied):
    queries = {path for tracklet in query_tracklets(copied) for path in tracklet}
    for path in (copied / 'bbox_test').glob('*/*.jpg'):
        if path not in queries:
            path.write_bytes(b'')
    assert_error(test(data_root=copied), 'No readable gallery tracklet')


def test_queries_that_the_gallery_lacks(test, copied, tmp_path):
    """Some are counted and named; all of them are an error."""
    rows = loadmat(copied / 'info' / 'tracks_test_info.mat')['track_test_info']
    pids, camids = rows[:, 2], rows[:, 3]
    of_five = np.flatnonzero(pids == 5) + 1
    lone = np.flatnonzero((pids == 6) & (camids == 1))[:1] + 1
    keep = np.flatnonzero((pids == 7) & (camids == 2))[:1] + 1
    rewrite(copied, 'query_IDX.mat', 'query_IDX',
            lambda _: np.concatenate([of_five, lone, keep])[None])
    done = test(data_root=copied)
    assert done.returncode == 0, done.stderr
    assert '4 of 6 queries have no positive match' in done.stdout
    written = written_figures(tmp_path / 'out')
    assert (written['num_queries'], written['num_valid_queries'],
            written['num_queries_without_truth']) == (6, 2, 4)

    rewrite(copied, 'query_IDX.mat', 'query_IDX', lambda _: of_five[None])
    assert_error(test(data_root=copied), '4 of 4 queries have no positive match',
                 'Nothing can be rated')

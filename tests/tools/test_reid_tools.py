"""Train and test re-identification as a user does, with processes of their own.

One small model is trained on four synthetic persons; most tests look at what
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

from cosam_mm.apis.tracklet_encoder import TrackletEncoder
from cosam_mm.datasets.synthetic.reid_dataset_files import generate_reid_dataset
from cosam_mm.evaluation.reid_evaluation import evaluate_features
from cosam_mm.evaluation.reid_features import load_features
from cosam_mm.utils.io import read_checkpoint
from tests.reference.naive_retrieval import (
    naive_distances,
    naive_rerank,
    naive_retrieval,
)

NUM_PERSONS, NUM_QUERIES, NUM_GALLERY = 5, 10, 12  # of the test; 2 are distractors
METRICS = ('mAP', 'R1', 'R5', 'R10', 'R20', 'mINP')
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
OTHER_FOLDER = """
_base_ = [{base!r}]
part = dict(
    _delete_=True, type='TrackletFolder', data_root='nowhere', train_fraction=0,
    name='my people', pipeline=[
        dict(type='SampleTrackletFrames', num_frames=2, mode='all_clips'),
        dict(type='LoadTrackletFrames'), dict(type='ResizeFrames', size=(96, 48)),
        {{{{_base_.pack}}}}])
test_dataloader = dict(dataset=dict(query=part, gallery=part))
test_evaluator = dict(distance='cosine', rerank=dict(k1=3))
model = dict(data_preprocessor=dict(mean=[0, 0, 0]))
"""
ILIDS = """
_base_ = [{base!r}]
num_splits = 3
part = dict(type='ILIDSVID', name='ilids', split=1)
parts = dict(dataset=dict(query=part, gallery=part))
train_dataloader = dict(dataset=part)
val_dataloader = parts
test_dataloader = parts
"""
WITH_QUERIES = [f'test_dataloader.dataset.{part}.query_in_gallery=True'
                for part in ('query', 'gallery')]


def logged_metrics(log, mode='test'):
    """What the last test, or validation, of a log says after "reid/", by name."""
    line = [line for line in log.splitlines() if f'Epoch({mode})' in line][-1]
    parts = re.split(r'\s{2,}', line)
    return dict(re.fullmatch(r'reid/(\S+): ?(.*)', part).groups()
                for part in parts if part.startswith('reid/'))


def learning_rates(log):
    return re.findall(r'Epoch\(train\)\s+\[(\d+)\]\[1/1\]\s+lr: (\S+)', log)


def written_metrics(work_dir):
    """What the JSON file of the only test in a work dir says."""
    (path,) = work_dir.glob('*/*.json')
    return {name.removeprefix('reid/'): value
            for name, value in json.loads(path.read_text()).items()}


def naive_metrics(features, rerank=False):
    """Metrics of a feature file from the definitions."""
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
    """Four persons to train on, five to test on, in two cameras."""
    return generate_reid_dataset(
        tmp_path_factory.mktemp('reid') / 'my demo', 4, NUM_PERSONS, num_cameras=2,
        num_distractors=2, num_junk=1, progress=False)


@pytest.fixture
def copied(root, tmp_path_factory):
    """The data set, to be damaged; yapf takes seconds for configs with longer paths."""
    return shutil.copytree(root, tmp_path_factory.mktemp('copy') / 'damaged')


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
    done = nest.ok('tools/train.py', config, '--data-root', root, '--seed', 0, cwd=cwd)
    return done.stdout, cwd / 'work_dirs' / 'small'


@pytest.fixture(scope='module')
def checkpoint(reid_training):
    return reid_training[1] / 'epoch_2.pth'


@pytest.fixture
def test(nest, config, checkpoint, root, tmp_path):
    """Runs tools/test.py; the process, metrics in ``tmp_path / 'out'``."""
    def run(*arguments, data_root=root, config=config):
        data = () if data_root is None else ('--data-root', data_root)
        return nest.run('tools/test.py', config, checkpoint, '--work-dir', 'out',
                        *data, *arguments, cwd=tmp_path)
    return run


@pytest.fixture
def tested(test, tmp_path):
    """Runs a test that succeeds; its log and the metrics it wrote."""
    def run(*arguments, **options):
        done = test(*arguments, **options)
        assert done.returncode == 0, done.stderr
        return done.stdout, written_metrics(tmp_path / 'out')
    return run


@pytest.fixture(scope='module')
def everything(nest, config, checkpoint, root, tmp_path_factory):
    """(log, JSON metrics, features) of a test with all that there is to ask for."""
    cwd = tmp_path_factory.mktemp('everything')
    done = nest.ok(
        'tools/test.py', config, checkpoint, '--data-root', root, '--rerank',
        '--attributes', root / 'info' / 'attributes.csv', '--dump', 'new/features.npz',
        '--work-dir', 'out', cwd=cwd)
    return (done.stdout, written_metrics(cwd / 'out'),
            load_features(cwd / 'new' / 'features.npz'))


# -- training ----------------------------------------------------------------


def test_trains_validates_and_keeps_the_best(reid_training, everything):
    log, work_dir = reid_training
    assert [epoch for epoch, _ in learning_rates(log)] == ['1', '2']
    assert 'reid_demo train: 16 tracklets' in log
    assert (work_dir / 'epoch_1.pth').is_file()
    assert len(list(work_dir.glob('best_reid_mAP_*.pth'))) == 1
    for name, value in logged_metrics(log, 'val').items():  # of the test as well
        assert name == 'rerank' or logged_metrics(everything[0])[name] == value
    meta = read_checkpoint(work_dir / 'epoch_2.pth')['meta']
    assert meta['dataset_meta'] == dict(
        dataset='reid_demo', subset='train', protocol='gallery without queries',
        split=None, num_tracklets=16, num_pids=4)


def test_resume(nest, config, reid_training, root, tmp_path):
    straight, work_dir = reid_training
    (tmp_path / 'run').mkdir()
    shutil.copy(work_dir / 'epoch_1.pth', tmp_path / 'run')
    (tmp_path / 'run/last_checkpoint').write_text(str(tmp_path / 'run/epoch_1.pth'))
    done = nest.ok('tools/train.py', config, '--data-root', root, '--work-dir', 'run',
                   '--resume', cwd=tmp_path)
    assert 'resumed epoch: 1, iter: 1' in done.stdout
    assert learning_rates(done.stdout) == learning_rates(straight)[1:]
    ours, theirs = (read_checkpoint(folder / 'epoch_2.pth')
                    for folder in (tmp_path / 'run', work_dir))
    assert ours['meta'].items() >= dict(epoch=2, iter=2, seed=0).items()
    torch.testing.assert_close(ours['state_dict'], theirs['state_dict'], rtol=0, atol=0)
    assert logged_metrics(done.stdout, 'val').keys() == (
        logged_metrics(straight, 'val').keys())


JOINED = '''
_base_ = [{base!r}]
part = dict(type='MARS', data_root={root!r}, expected_counts=None, name='a',
            pipeline={{{{_base_.train_dataloader.dataset.pipeline}}}})
joined = dict(type='JoinedDataset',
              datasets=[part, dict(part, data_root={other!r}, name='b')])
balanced = dict(type='ClassBalancedDataset', oversample_thr=1., dataset=joined)
train_dataloader = dict(dataset=dict(
    _delete_=True, type='RepeatDataset', times=2, dataset=balanced))
'''


@pytest.mark.parametrize('joins', ['another', 'itself'])
def test_persons_of_two_data_sets(nest, config, root, copied, tmp_path, joins):
    """Both count their persons from 0: no two of them are one."""
    other = tmp_path / 'joined.py'
    other.write_text(JOINED.format(base=str(config), root=str(root), other=str(
        copied if joins == 'another' else root)))
    arguments = (other, '--no-validate', '--cfg-options', 'train_cfg.max_epochs=1')
    if joins == 'another':
        done = nest.run('tools/train.py', *arguments, cwd=tmp_path)
        assert_error(done, 'two persons', str(root), str(copied), 'one folder')
    else:
        nest.ok('tools/train.py', *arguments, cwd=tmp_path)
        done = nest.run('tools/train.py', *arguments, 'model.head.num_pids=3',
                        cwd=tmp_path)
        assert_error(done, '3 persons', 'model.head.num_pids=4')
    assert len(list(tmp_path.rglob('epoch_*.pth'))) == (joins == 'itself')


# -- metrics -----------------------------------------------------------------


@pytest.mark.parametrize('prefix', ['', 'rerank_'])
def test_metrics_agree_with_the_definitions(everything, prefix):
    log, written, features = everything
    expected = naive_metrics(features, rerank=bool(prefix))
    for name in METRICS:
        value = written[prefix + name]
        assert value == pytest.approx(expected[name], abs=1e-6)
        assert logged_metrics(log)[prefix + name] == f'{value:.4f}'


def test_metrics_say_what_made_them(everything):
    log, written, features = everything
    stated = dict(dataset='reid_demo', protocol='gallery without queries',
                  clip_sampling='all_clips, 4 frames', distance='euclidean', split='',
                  rerank='k1=20, k2=6, lambda_value=0.3')
    counts = dict(num_valid_queries=NUM_QUERIES, num_queries=NUM_QUERIES,
                  num_gallery=NUM_GALLERY, num_unreadable=0,
                  num_queries_without_truth=0)
    assert {name: written[name] for name in (*stated, *counts)} == {**stated, **counts}
    for name, value in stated.items():
        assert logged_metrics(log)[name] == value
    for part in ('reid_demo', 'gallery without queries', 'all_clips, 4 frames',
                 'euclidean distance: mAP ', '10 of 10 queries against 12 gallery',
                 '22 tracklets are in new/features.npz'):
        assert part in log
    # So do the features in the file, and they give the same.
    assert features['subset'].tolist() == (
        ['query'] * NUM_QUERIES + ['gallery'] * NUM_GALLERY)
    assert set(features['pid'].tolist()) == {0, *range(5, 5 + NUM_PERSONS)}
    for name, value in evaluate_features(features, rerank=True).as_dict().items():
        assert written[name] == (
            value if isinstance(value, str) else pytest.approx(value))


def test_metrics_by_attribute(everything, root):
    _, written, features = everything
    with open(root / 'info' / 'attributes.csv', newline='') as file:
        carried = {int(row.pop('pid')): row for row in csv.DictReader(file)}
    seen = 0
    for name in next(iter(carried.values())):
        chosen = np.array([carried.get(pid, {}).get(name) == '1'
                           for pid in features['pid'].tolist()])
        own = chosen & (features['subset'] == 'query')
        assert written[f'{name}_num_valid_queries'] == own.sum()
        if own.any():
            seen += 1
            kept = own | (features['subset'] == 'gallery')
            some = {key: value[kept] if isinstance(value, np.ndarray) else value
                    for key, value in features.items()}
            assert written[f'{name}_mAP'] == pytest.approx(naive_metrics(some)['mAP'])
            assert f'{name}_rerank_R1' in written
    assert seen
    assert written['num_queries_without_attributes'] == 0


# -- protocols and other data ------------------------------------------------


def test_queries_in_the_gallery_and_options_of_the_reranking(tested):
    log, written = tested('--rerank', '--cfg-options', *WITH_QUERIES,
                          'test_evaluator.rerank.k1=5')
    assert written.items() >= dict(
        protocol='gallery with queries', num_queries=NUM_QUERIES,
        num_gallery=NUM_QUERIES + NUM_GALLERY,
        rerank='k1=5, k2=6, lambda_value=0.3').items()
    assert 'rerank_mAP' in written
    assert 'gallery with queries' in log


def test_another_data_set(tested, config, checkpoint, tmp_path):
    """Own folders of other persons; --data-root is that of the data tested on.

    Clips, images and distance are what the model was made for, as in its encoder.
    """
    strangers = generate_reid_dataset(
        tmp_path / 'strangers', 1, 3, num_cameras=2, seed=1, num_distractors=0,
        num_junk=0, progress=False)
    for path in (strangers / 'bbox_test').glob('*/*.jpg'):
        folder = (tmp_path / 'people' / path.name[:4] / path.name[5]
                  / path.name[7:11])
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder)
    other = tmp_path / 'other.py'
    other.write_text(OTHER_FOLDER.format(base=str(config)))
    _, written = tested('--cross-dataset', other, '--dump', 'f.npz', data_root='people')
    assert written.items() >= dict(
        dataset='my people', num_queries=6, num_gallery=12, distance='euclidean',
        clip_sampling='all_clips, 4 frames',
        protocol='gallery with queries (first tracklet of each person and camera)',
    ).items()
    features = load_features(tmp_path / 'f.npz')
    assert features['dataset'] == 'my people'
    assert set(features['pid'].tolist()) == {2, 3, 4}
    assert written['mAP'] == pytest.approx(naive_metrics(features)['mAP'], abs=1e-6)
    assert 'rerank_mAP' not in written
    encoder = TrackletEncoder(checkpoint, device='cpu')
    for name, feature in zip(features['tracklet_id'], features['feature']):
        np.testing.assert_allclose(encoder.encode(tmp_path / 'people' / name), feature,
                                   atol=1e-5)


# -- several splits ----------------------------------------------------------


@pytest.fixture(scope='module')
def ilids(nest, config, tmp_path_factory):
    """(folder, config): iLIDS-VID of 8 persons, its config, three checkpoints."""
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
            {'ls_set': np.stack([rng.permutation(8) + 1 for _ in range(3)])})
    own = folder / 'three.py'
    own.write_text(ILIDS.format(base=str(config)))
    nest.ok(
        'tools/train.py', own, '--data-root', folder, '--split', 1, '--seed', 0,
        '--no-validate', '--cfg-options', 'train_cfg.max_epochs=1', cwd=folder)
    work_dir = folder / 'work_dirs' / 'three'
    one = read_checkpoint(work_dir / 'split1' / 'epoch_1.pth')
    assert one['meta']['dataset_meta']['split'] == '1 (first half tests)'
    for split in (2, 3):  # the same with other weights
        name = f'{split} (first half tests)'
        one['meta']['dataset_meta']['split'] = name
        one['meta']['trained_on'] = [dict(dataset='ilids', split=name)]
        weight = one['state_dict']['backbone.conv1.weight']
        generator = torch.Generator().manual_seed(split)
        weight += .1 * torch.randn(weight.shape, generator=generator)
        (work_dir / f'split{split}').mkdir()
        torch.save(one, work_dir / f'split{split}' / 'epoch_1.pth')
    return folder, own


def test_mean_of_all_splits(nest, ilids, tmp_path):
    folder, config = ilids
    done = nest.ok(
        'tools/test.py', config, 'work_dirs/three/split{split}/epoch_1.pth',
        '--all-splits', '--data-root', folder, '--dump', 'features/{split}.npz',
        '--work-dir', 'results', cwd=folder)
    table = loadmat(
        folder / 'train-test people splits/train_test_splits_ilidsvid.mat')['ls_set']
    each = []
    for split in (1, 2, 3):
        features = load_features(folder / 'features' / f'{split}.npz')
        assert features['split'] == f'{split} (first half tests)'
        assert set(features['pid'].tolist()) == set(table[split - 1, :4].tolist())
        each.append(naive_metrics(features))
        own = written_metrics(folder / 'results' / f'split{split}')
        assert own['split'] == features['split']
        assert own['mAP'] == pytest.approx(each[-1]['mAP'], abs=1e-6)
    written = json.loads((folder / 'results' / 'all_splits.json').read_text())
    printed = [line.split() for line in done.stdout.splitlines()]
    for name in METRICS:
        values = [metrics[name] for metrics in each]
        own = written[f'reid/{name}']
        assert own['splits'] == pytest.approx(values, abs=1e-6)
        assert own['mean'] == pytest.approx(sum(values) / 3, abs=1e-6)
        row = [*(f'{value:.4f}' for value in values), f'{sum(values) / 3:.4f}']
        assert [f'reid/{name}', *row] in printed
    assert len(set(written['reid/mAP']['splits'])) > 1
    assert written['reid/num_valid_queries'] == dict(splits=[4] * 3, mean=4)
    assert set(written['reid/protocol']) == {'splits'}
    assert written['reid/weights_sha256']['splits'] == [
        load_features(folder / 'features' / f'{split}.npz')['weights_sha256']
        for split in (1, 2, 3)]
    done = nest.run(  # a split that the model was not trained for
        'tools/test.py', config, folder / 'work_dirs/three/split1/epoch_1.pth',
        '--data-root', folder, '--split', 2, cwd=tmp_path)
    assert_error(done, 'split 1 (first half tests) of ilids', 'split 2', '--split 1',
                 '--force')


# -- bad input ---------------------------------------------------------------


@pytest.mark.parametrize(('arguments', 'message'), [
    (('--cfg-options', WITH_QUERIES[1]), 'protocol'),
    (('--attributes', 'a.csv'), 'a.csv'),
    (('--cross-dataset', 'configs/resnext14_cosam_bert_demo.py'), 'ActionMetric'),
    (('--cfg-options', 'model.backbone.plugins=None'), 'COSAM backbone.plugins'),
    (('--split', 2), '--split'),
    (('--all-splits',), 'splits'),
    (('--data-root', 'nowhere'), "'nowhere' of reid_demo")])
def test_wrong_arguments(test, repo, arguments, message):
    arguments = [repo / one if str(one).startswith('configs/') else one
                 for one in arguments]
    assert_error(test(*arguments), message)


def query_tracklets(root):
    """Image files of each query tracklet."""
    names = (root / 'info' / 'test_name.txt').read_text().split()
    rows = loadmat(root / 'info' / 'tracks_test_info.mat')['track_test_info']
    query = loadmat(root / 'info' / 'query_IDX.mat')['query_IDX'].ravel() - 1
    return [[root / 'bbox_test' / name[:4] / name for name in names[first - 1:last]]
            for first, last in rows[query.astype(int), :2].tolist()]


def test_odd_images(test, tested, copied):
    """One of a tracklet has a stand-in; a tracklet of nothing else is left out."""
    one, other, third = query_tracklets(copied)[:3]
    one[3].write_bytes(b'no image')
    for path in other:
        path.write_bytes(path.read_bytes()[:20])
    cv2.imwrite(str(third[0]), np.zeros((40, 41, 3), np.uint8))  # of another size
    log, written = tested(data_root=copied)
    assert re.search(rf'WARNING - .*{one[3].name} .*stand in for it', log)
    assert f'all {len(other)} frames of its tracklet' in log
    assert re.search(rf'1 tracklets cannot be read .*{other[0].name[:11]}', log)
    assert written['num_unreadable'] == 1
    assert written['num_valid_queries'] == written['num_queries'] == NUM_QUERIES - 1
    queries = {path for tracklet in query_tracklets(copied) for path in tracklet}
    for path in (copied / 'bbox_test').glob('*/*.jpg'):
        if path not in queries:
            path.write_bytes(b'')
    assert_error(test(data_root=copied), 'No readable gallery tracklet')

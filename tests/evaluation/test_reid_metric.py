"""The re-ID metric: values, what they were measured on, feature and attribute files."""
import hashlib
import json
import os

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from mmengine.model import BaseModel
from mmengine.registry import METRICS
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from torch.utils.data import Dataset

from cosam_mm.evaluation.metrics.reid_metric import ReIDMetric
from cosam_mm.evaluation.reid_evaluation import ReIDResult, evaluate_features
from cosam_mm.evaluation.reid_features import (
    ARRAYS,
    load_features,
    read_attributes,
    save_features,
)
from tests.reference.naive_retrieval import (
    naive_distances,
    naive_rerank,
    naive_retrieval,
)

META = dict(dataset='mars', protocol='gallery without queries', split=None, num_pids=5)


@pytest.fixture
def features():
    """Seven queries and forty gallery tracklets of five persons, two distractors."""
    rng = np.random.default_rng(0)
    pid = np.concatenate([[1, 2, 3, 4, 5, 1, 9], rng.integers(6, size=40)])
    feature = rng.normal(size=(10, 4))[pid] + .8 * rng.normal(size=(47, 4))
    return dict(
        feature=feature.astype(np.float32), pid=pid,
        camid=np.concatenate([[1] * 7, rng.integers(1, 4, size=40)]),
        subset=np.array(['query'] * 7 + ['gallery'] * 40),
        tracklet_id=np.array([f'tracklet {k}' for k in range(47)]),
        unreadable=np.zeros(47, bool), dataset='mars',
        protocol='gallery without queries', split='', clip_sampling='all clips of 4')


@pytest.fixture
def log(tmp_path):
    """Reads what went to the current logger."""
    path = tmp_path / 'log.txt'
    MMLogger.get_instance(f'reid {tmp_path.name}', log_file=str(path))
    return path.read_text


def make_samples(features, **extra):
    samples = []
    for k in range(len(features['pid'])):
        sample = BaseDataElement(metainfo=dict(
            {key: features[key][k].item() for key in (
                'pid', 'camid', 'subset', 'tracklet_id', 'unreadable')},
            num_clips=3, **extra))
        sample.feature = torch.from_numpy(features['feature'][k])
        samples.append(sample)
    return samples


def evaluate(metric, samples, meta=None, batch=5):
    evaluator = Evaluator([metric])
    evaluator.dataset_meta = META if meta is None else meta
    for start in range(0, len(samples), batch):
        evaluator.process(data_samples=samples[start:start + batch])
    return evaluator.evaluate(len(samples))


def expected_metrics(features, distance='euclidean', prefix='', rows=None, matrix=None):
    """What the oracle says, for some of the queries."""
    query = np.flatnonzero(features['subset'] == 'query')
    gallery = np.flatnonzero(features['subset'] == 'gallery')
    if matrix is None:
        matrix = naive_distances(features['feature'][query],
                                 features['feature'][gallery], distance)
    rows = range(len(query)) if rows is None else rows
    ids = (features['pid'][query[rows]], features['pid'][gallery],
           features['camid'][query[rows]], features['camid'][gallery])
    _, cmc, mean_ap, mean_inp = naive_retrieval([matrix[i] for i in rows], *ids, 20)
    metrics = dict(mAP=mean_ap, mINP=mean_inp,
                   **{f'R{k}': cmc[k - 1] for k in (1, 5, 10, 20)})
    return {prefix + key: pytest.approx(value) for key, value in metrics.items()}


def test_what_made_them(features, tmp_path):
    """In the feature file and in the result; nothing where no test says it."""
    path, samples = str(tmp_path / 'a.npz'), make_samples(features)
    metric = ReIDMetric(feature_file=path)
    made = dict(weights_sha256='0' * 64, checkpoint='b.pth')
    found = evaluate(metric, samples, dict(META, **made))
    lines = ''.join(f'{a}\t{b}\t{c}\t{d}\n' for a, b, c, d in zip(*(
        features[key] for key in ('tracklet_id', 'pid', 'camid', 'subset'))))
    made['list_sha256'] = hashlib.sha256(lines.encode()).hexdigest()
    assert {key: load_features(path)[key] for key in made} == made
    assert {key: found[f'reid/{key}'] for key in made} == made
    assert 'reid/list_sha256' not in evaluate(metric, samples)


class TestEvaluateFeatures:

    @pytest.mark.parametrize('distance', ['euclidean', 'cosine'])
    def test_metrics(self, features, distance):
        result = evaluate_features(features, distance)
        assert isinstance(result, ReIDResult)
        assert result.metrics == expected_metrics(features, distance)
        assert list(result.metrics) == ['mAP', 'R1', 'R5', 'R10', 'R20', 'mINP']
        other = evaluate_features(features, distance, ranks=(5,)).metrics
        assert other == {key: result.metrics[key] for key in ('mAP', 'R5', 'mINP')}
        assert (result.num_queries, result.num_gallery) == (7, 40)
        assert result.num_valid_queries == 6
        assert result.queries_without_match == ('tracklet 6',)

    @pytest.mark.parametrize(('rerank', 'options', 'distance'), [
        (True, (20, 6, .3), 'euclidean'), (dict(k1=5, k2=2), (5, 2, .3), 'euclidean'),
        (dict(lambda_value=.1), (20, 6, .1), 'cosine')])
    def test_rerank(self, features, rerank, options, distance):
        result = evaluate_features(features, distance, rerank)
        subset, x = features['subset'], features['feature']
        matrix = naive_rerank(
            x[subset == 'query'], x[subset == 'gallery'], *options,
            'squared_euclidean' if distance == 'euclidean' else 'cosine')
        assert result.metrics == {
            **expected_metrics(features, distance),
            **expected_metrics(features, prefix='rerank_', matrix=matrix)}
        assert list(result.rerank.values()) == list(options)

    def test_unreadable_tracklets_are_left_out(self, features):
        bad = [2, 10, 11]
        features['unreadable'][bad] = True
        features['feature'][10] = np.nan
        result = evaluate_features(features)
        kept = {key: np.delete(value, bad, axis=0) if isinstance(value, np.ndarray)
                else value for key, value in features.items()}
        assert result.metrics == expected_metrics(kept)
        assert result.unreadable == ('tracklet 2', 'tracklet 10', 'tracklet 11')
        assert (result.num_queries, result.num_gallery) == (6, 38)

    def test_a_copy_of_the_query_is_no_match_of_it(self, features):
        """As if the entry were not there, for that query alone."""
        query, gallery = 0, 7 + int(np.flatnonzero(
            (features['pid'][7:] == 1) & (features['camid'][7:] != 1))[0])
        features['feature'][gallery] = features['feature'][query]
        with_itself = evaluate_features(features)
        features['source'] = features['tracklet_id'].copy()
        features['source'][[query, gallery]] = 'same'
        result = evaluate_features(features)
        assert result.num_copied_queries == 1
        assert '1 queries leave out copies' in str(result)
        assert result.metrics['mAP'] < with_itself.metrics['mAP']
        # The oracle knows cameras only: the copy gets that of the query, for it alone.
        others = expected_metrics(features, rows=range(1, 7))
        features['camid'][gallery] = 1
        own = expected_metrics(features, rows=[query])
        assert result.metrics['mAP'] == pytest.approx(
            (own['mAP'].expected + 5 * others['mAP'].expected) / 6)

    def test_a_gallery_of_one_person_is_refused(self, features):
        features['pid'][:] = 3
        with pytest.raises(ValueError, match='100 %'):
            evaluate_features(features)

    def test_unknown_cameras(self):
        """Everything is compared but a tracklet with itself, whatever its subset."""
        features = dict(
            feature=[[0.], [0.], [2.], [1.], [3.]], pid=[7, 7, 7, 8, 7],
            camid=[-1, -1, -1, -1, 2],
            subset=['query', 'gallery', 'gallery', 'gallery', 'gallery'],
            tracklet_id=['a', 'a', 'b', 'c', 'd'])
        result = evaluate_features(features)
        # Ranked: c (wrong), b, d.
        assert result.metrics['mAP'] == pytest.approx((1 / 2 + 2 / 3) / 2)
        features['camid'] = [1, 1, 1, 1, 1]
        with pytest.raises(ValueError, match='query'):
            evaluate_features(features)

    @pytest.mark.parametrize(('key', 'value', 'word'), [
        ('subset', np.array(['gallery'] * 47), 'No readable query'),
        ('subset', np.array(['query'] * 47), 'No readable gallery'),
        ('subset', np.array(['train'] * 47), 'train'),
        ('unreadable', np.ones(47, bool), 'No readable'),
        ('unreadable', np.ones(3, bool), 'unreadable'),
        ('pid', np.full(47, -1), 'junk'), ('pid', np.arange(47.), 'float64'),
        ('camid', np.arange(3), 'camid'),
        ('feature', np.full((47, 4), np.nan), "'tracklet 4' and 42 more"),
        ('feature', np.zeros(47), 'shape'), ('feature', np.zeros((0, 4)), 'shape'),
        ('pid', np.arange(47), 'gallery entry'), ('pids', 1, 'pids'),
        ('pid', None, 'missing')])
    def test_bad_features(self, features, key, value, word):
        features[key] = value
        with pytest.raises(ValueError, match=word):
            evaluate_features({k: v for k, v in features.items() if v is not None})

    @pytest.mark.parametrize(('options', 'word'), [
        (dict(distance='l2'), 'l2'), (dict(rerank='yes'), 'yes'),
        (dict(rerank=dict(k3=1)), 'k3'), (dict(rerank=dict(k1=0)), 'k1'),
        (dict(ranks=()), 'ranks'), (dict(ranks=[0]), 'ranks'),
        (dict(attributes={}), 'attributes'),
        (dict(attributes={1: 'hat'}), 'attributes'),
        (dict(attributes={1: {'hat'}, 'a': {'hat'}}), 'attributes'),
        (dict(attributes={77: {'hat'}}), 'other data')])
    def test_bad_options(self, features, options, word):
        with pytest.raises(ValueError, match=word):
            evaluate_features(features, **options)


class TestAttributes:

    def test_by_pid(self, features):
        attributes = {1: {'hat', 'bag'}, 2: {'bag'}, 3: set(), 4: set(),
                      9: {'umbrella'}}
        result = evaluate_features(features, rerank=True, attributes=attributes)
        plain = evaluate_features(features, rerank=True)
        assert result.metrics == plain.metrics
        assert list(result.attributes) == ['bag', 'hat', 'umbrella']
        bag = result.attributes['bag']
        assert bag.pop('num_valid_queries') == 3
        expected = expected_metrics(features, rows=[0, 1, 5])
        assert {k: v for k, v in bag.items() if not k.startswith('rerank')} == expected
        assert {k for k in bag if k.startswith('rerank')} == {
            f'rerank_{key}' for key in expected}
        assert result.attributes['hat']['num_valid_queries'] == 2
        # The one query with an umbrella has no positive match.
        assert result.attributes['umbrella'] == dict(num_valid_queries=0)
        assert result.num_queries_without_attributes == 1  # pid 5

    def test_by_tracklet(self, features):
        result = evaluate_features(
            features, attributes={'tracklet 1': {'hat'}, 'tracklet 3': ['hat']})
        hat = result.attributes['hat']
        assert hat == {'num_valid_queries': 2,
                       **expected_metrics(features, rows=[1, 3])}
        assert result.as_dict()['hat_mAP'] == hat['mAP']
        assert result.num_queries_without_attributes == 5

    @pytest.mark.parametrize(('text', 'expected'), [
        ('pid,hat,bag\n1,0,1\n7,1,1\n\n9,0,0\n',
         {1: {'bag'}, 7: {'hat', 'bag'}, 9: set()}),
        ('\ufefftracklet_id, hat\r\n"a,b", 1 \r\n7,0', {'a,b': {'hat'}, '7': set()}),
    ])
    def test_file(self, tmp_path, text, expected):
        path = tmp_path / 'a.csv'
        path.write_bytes(text.encode())
        assert read_attributes(str(path)) == expected

    @pytest.mark.parametrize(('text', 'word'), [
        ('', 'first line'), ('pid\n1\n', 'pid'), ('id,hat\n1,1\n', 'id'),
        ('pid,hat,hat\n1,1,1\n', 'different'), ('pid,hat,\n1,1,1\n', 'different'),
        ('pid,hat\n', 'no line'), ('pid,hat\n1,1\n2,yes\n', "line 3.*'yes'"),
        ('pid,hat\n1,1,0\n', 'line 2.*fields'), ('pid,hat\nx,1\n', "line 2.*'x'"),
        ('pid,hat\n1,1\n01,0\n', 'line 3.*twice')])
    def test_bad_file(self, tmp_path, text, word):
        path = tmp_path / 'a.csv'
        path.write_text(text)
        with pytest.raises(ValueError, match=word):
            read_attributes(str(path))
        with pytest.raises(FileNotFoundError, match='none'):
            read_attributes(str(tmp_path / 'none.csv'))


class TestResult:

    def test_paragraph(self, features):
        features['unreadable'][20] = True
        result = evaluate_features(features, rerank=True, attributes={
            1: {'hat'}, 9: {'bag'}})
        text = str(result)
        assert '\n' not in text
        for part in (
                'mars', 'protocol: gallery without queries', 'clips: all clips of 4',
                f'euclidean distance: mAP {100 * result.metrics["mAP"]:.1f} %, R1 ',
                'k1=20, k2=6, lambda_value=0.3',
                f'mAP {100 * result.metrics["rerank_mAP"]:.1f} %', '6 of 7 queries',
                '39 gallery', '1 queries have no', '1 unreadable',
                'With bag: no valid query', 'With hat (2 queries): mAP '):
            assert part in text
        text = str(evaluate_features(dict(
            features, dataset='', protocol=None, clip_sampling='', split=3)))
        assert text.count('not stated') == 3
        assert 'split 3' in text

    def test_as_dict_is_json(self, features):
        features['unreadable'][20] = True
        found = evaluate_features(features, rerank=True, attributes={
            1: {'hat'}, 9: {'bag'}}).as_dict()
        assert json.loads(json.dumps(found)) == found
        assert all(isinstance(value, (str, int, float)) for value in found.values())
        assert next(iter(found)) == 'mAP'  # what save_best='auto' would take
        expected = dict(
            dataset='mars', protocol='gallery without queries', split='',
            clip_sampling='all clips of 4', distance='euclidean',
            rerank='k1=20, k2=6, lambda_value=0.3', num_queries=7, num_gallery=39,
            num_valid_queries=6, num_queries_without_truth=1, num_unreadable=1,
            num_queries_without_attributes=4, bag_num_valid_queries=0)
        assert {key: found[key] for key in expected} == expected


class TestFeatureFiles:

    def test_round_trip_without_pickle(self, features, tmp_path):
        path = str(tmp_path / 'new folder' / 'a.npz')
        few = {key: features[key] for key in ARRAYS
               if key not in ('source', 'unreadable')}
        save_features(path, {**few, 'feature': features['feature'].astype(float)})
        read = load_features(path)
        assert (read['feature'].dtype, read['dataset'], read['split']) == (
            np.float32, '', '')
        assert not read['unreadable'].any()
        save_features(path, features)
        with np.load(path, allow_pickle=False) as file:
            assert all(file[key].dtype != object for key in file.files)
        read = load_features(path)
        features['source'] = features['tracklet_id']
        for key in ('weights_sha256', 'checkpoint', 'list_sha256'):
            assert read.pop(key) == ''
        assert set(read) == set(features)
        for key in features:
            np.testing.assert_array_equal(read[key], features[key])
        assert evaluate_features(read) == evaluate_features(features)
        assert os.listdir(tmp_path / 'new folder') == ['a.npz']

    def test_mistakes_in_writing(self, features, tmp_path):
        with pytest.raises(ValueError, match='a.pkl'):
            save_features('a.pkl', features)
        features['camid'] = features['camid'][:3]
        with pytest.raises(ValueError, match='camid'):
            save_features(str(tmp_path / 'a.npz'), features)
        assert os.listdir(tmp_path) == []

    def test_no_feature_file(self, features, tmp_path):
        path = tmp_path / 'a.npz'
        with pytest.raises(FileNotFoundError, match='feature file'):
            load_features(str(path))
        save_features(str(path), features)
        path.write_bytes(path.read_bytes()[:-60])
        with pytest.raises(ValueError, match='feature file'):
            load_features(str(path))

    @pytest.mark.parametrize(('key', 'value', 'word'), [
        ('pid', np.arange(3), 'pid'), ('feature', np.array('x'), 'feature file'),
        ('subset', np.array(['x'] * 47), 'subset'), ('extra', np.zeros(3), 'extra'),
        ('tracklet_id', np.array(['a', None], object), 'pickle')])
    def test_bad_arrays(self, features, tmp_path, key, value, word):
        path = str(tmp_path / 'a.npz')
        np.savez(path, **{**features, key: value})
        with pytest.raises(ValueError, match=word):
            load_features(path)


class TestReIDMetric:

    def test_metrics_and_what_they_were_measured_on(self, features, log):
        metric = METRICS.build(dict(
            type='ReIDMetric', clip_sampling='all clips of 4', rerank=dict(k1=5)))
        assert isinstance(metric, ReIDMetric)
        found = evaluate(metric, make_samples(features))
        result = evaluate_features(features, rerank=dict(k1=5))
        assert metric.result == result
        assert found == {f'reid/{key}': value
                         for key, value in result.as_dict().items()}
        assert {f'reid/{key}' for key in (
            'mAP', 'R1', 'R5', 'R10', 'R20', 'mINP', 'rerank_mAP', 'rerank_R1',
            'num_valid_queries', 'dataset', 'protocol', 'clip_sampling')} <= set(found)
        assert str(result) in log()
        warning = next(line for line in log().splitlines() if 'WARNING' in line)
        assert '1 queries' in warning
        assert "'tracklet 6'" in warning
        assert evaluate(metric, make_samples(features)) == found  # it can be used again

    @pytest.mark.parametrize(('options', 'meta', 'sample', 'expected'), [
        (dict(clip_sampling='a'), dict(clip_sampling='b'), dict(clip_sampling='c'),
         dict(clip_sampling='a')),
        ({}, dict(clip_sampling='b'), dict(clip_sampling='c'), dict(clip_sampling='b')),
        ({}, {}, dict(clip_sampling='c'), dict(clip_sampling='c')),
        ({}, {}, {}, dict(clip_sampling='')),
        ({}, {}, dict(dataset='own'), dict(dataset='own', protocol='')),
        ({}, dict(META, split=4), {}, dict(dataset='mars', split='4'))])
    def test_who_states_data_set_and_clips(self, features, options, meta, sample,
                                           expected):
        metric = ReIDMetric(**options)
        evaluate(metric, make_samples(features, **sample), meta)
        assert {key: getattr(metric.result, key) for key in expected} == expected

    @pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
    def test_feature_file_and_half_precision(self, features, tmp_path, log, dtype):
        path = str(tmp_path / 'a.npz')
        features['unreadable'][[8, 9]] = True
        samples = make_samples(features)
        for sample in samples:
            sample.feature = sample.feature.to(dtype)
        rounded = torch.from_numpy(features['feature']).to(dtype).float().numpy()
        metric = ReIDMetric(feature_file=path, clip_sampling='all clips of 4')
        found = evaluate(metric, samples)
        read = load_features(path)
        for key, values in {**features, 'feature': rounded}.items():
            np.testing.assert_array_equal(read[key], values)
        assert evaluate_features(read) == metric.result
        assert found['reid/num_unreadable'] == 2
        for part in ('2 tracklets', "'tracklet 8', 'tracklet 9'"):
            assert part in log()

    def test_feature_file_survives_bad_features(self, features, tmp_path):
        path = str(tmp_path / 'a.npz')
        features['feature'][3] = np.nan
        with pytest.raises(ValueError, match='tracklet 3'):
            evaluate(ReIDMetric(feature_file=path), make_samples(features))
        assert np.isnan(load_features(path)['feature'][3]).all()

    def test_attribute_file(self, features, tmp_path, log):
        path = tmp_path / 'a.csv'
        path.write_text('pid,hat\n1,1\n2,0\n')
        metric = ReIDMetric(attributes=str(path))
        found = evaluate(metric, make_samples(features))
        assert found['reid/hat_mAP'] == expected_metrics(features, rows=[0, 5])['mAP']
        assert found['reid/hat_num_valid_queries'] == 2
        assert '4 queries are not in the attribute table' in log()

    @pytest.mark.parametrize(('key', 'value', 'word'), [
        ('feature', None, 'feature'), ('pid', None, 'pid'), ('camid', None, 'camid'),
        ('subset', None, 'subset'), ('feature', torch.zeros(3, 4), '3, 4'),
        ('feature', torch.zeros(7), 'lengths')])
    def test_bad_samples(self, features, key, value, word):
        samples = [sample.to_dict() for sample in make_samples(features)]
        samples[4][key] = value
        with pytest.raises(ValueError, match=word):
            evaluate(ReIDMetric(), samples)
        with pytest.raises(ValueError, match='no tracklet'):
            ReIDMetric().compute_metrics([])

    @pytest.mark.parametrize(('options', 'error', 'word'), [
        (dict(feature_file='a.pkl'), ValueError, 'a.pkl'),
        (dict(distance='x'), ValueError, "'x'"),
        (dict(rerank=dict(k1=-1)), ValueError, 'k1'),
        (dict(attributes='none.csv'), FileNotFoundError, 'none'),
        (dict(rank=1), TypeError, 'rank')])
    def test_bad_options_are_refused_before_the_test(self, options, error, word):
        with pytest.raises(error, match=word):
            ReIDMetric(**options)


class _Tracklets(Dataset):
    """Feature numbers stand in for tracklets; the model looks the feature up."""

    metainfo = META

    def __len__(self):
        return 47

    def __getitem__(self, index):
        return index


class _LookUp(BaseModel):
    """Predicts the data samples of the fixture."""

    def __init__(self, samples):
        super().__init__()
        self.samples = samples

    def forward(self, inputs, mode='predict'):
        return [self.samples[k] for k in inputs]

    def test_step(self, data):
        return self(data)

    val_step = test_step


@pytest.mark.parametrize('loop', ['test', 'val'])
def test_log_and_json_of_a_runner(features, tmp_path, loop):
    runner = Runner(
        _LookUp(make_samples(features)), str(tmp_path), experiment_name=tmp_path.name,
        default_scope='mmengine', **{
            f'{loop}_cfg': {},
            f'{loop}_evaluator': dict(
                type='ReIDMetric', clip_sampling='all clips of 4'),
            f'{loop}_dataloader': dict(
                dataset=_Tracklets(), batch_size=8, collate_fn=dict(
                    type='pseudo_collate'), sampler=dict(
                        type='DefaultSampler', shuffle=False))})
    result = evaluate_features(features)
    found = getattr(runner, loop)()
    assert found['reid/mAP'] == result.metrics['mAP']
    logged = next(tmp_path.glob('*/*.log')).read_text()
    assert str(result) in logged
    if loop == 'test':
        written = json.loads(next(tmp_path.glob('*/*.json')).read_text())
        assert {key: written[key] for key in found} == found
        assert written['reid/protocol'] == 'gallery without queries'

"""The section on re-identification: its numbers, and what it names as missing."""
import json
import sys

import numpy as np
import pytest

from cosam_mm.evaluation.reid_evaluation import evaluate_features
from cosam_mm.evaluation.reid_features import save_features
from tests.ranking_data import small_config, small_features, write_tracklets
from tests.report_content import read_image, sections_of

TITLE = 'Person re-identification'
DASH = '\N{EN DASH}'


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return write_tracklets(tmp_path_factory.mktemp('section') / 'own')


@pytest.fixture
def section(tmp_path, data):
    """Writes a feature file, config and log; gives the section of their report."""
    def make(features=None, config=True, data_root=data, log=None, num_samples=2,
             **settings):
        if features is not None:
            save_features(str(tmp_path / 'f.npz'), features)
        if config:
            small_config('nowhere', **settings).dump(tmp_path / 'config.py')
        if log is not None:
            (tmp_path / 'log.json').write_text(json.dumps(log))
        return sections_of(tmp_path, num_samples, data_root=data_root)[TITLE]
    return make


def test_whole_section(section):
    features = small_features()
    view = section(features)
    assert view.missing == {}
    result = evaluate_features(features).metrics
    assert view.tables['Metrics'] == [['euclidean distance', *(
        f'{100 * result[key]:.1f}' for key in ('mAP', 'R1', 'R5', 'R10', 'R20',
                                               'mINP'))]]
    assert '2 queries; 1 more' in view.all("p[@class='caption']")[0]
    (lead,) = view.all("p[@class='lead']")
    assert all(part in lead for part in ('4 tracklets', '3 queries', 'f.npz'))
    assert list(view.images) == [
        'CMC curve', 'Distances of pairs',
        'Best: query query/2/1/a, camera 1. AP 100.0 %, its positive match at rank 1',
        'Worst: query query/1/1/a, camera 1. AP 50.0 %, its positive match at rank 2']
    assert view.tables['All queries'] == [
        ['query/1/1/a', '1', '50.0', '2', '1'], ['query/2/1/a', '1', '100.0', '1', '1'],
        ['query/3/1/a', '1', DASH, DASH, '0']]
    # Rank panels are small images, in words too.
    alt, _, panel = view.images[list(view.images)[2]]
    assert read_image(panel)[1] == 'WEBP'
    assert len(panel) < 150_000
    assert 'gallery/2/2/a, camera 2, distance 1.000' in alt
    assert any('1 best and the 1 worst' in text for text in view.all('p'))


@pytest.mark.parametrize(('log', 'evaluator', 'distance', 'reranked'), [
    (None, dict(type='ReIDMetric', distance='cosine'), 'cosine', False),
    ({'reid/mAP': .5, 'reid/distance': 'cosine'}, dict(type='ReIDMetric'), 'cosine',
     False),
    (None, [dict(type='cosam_mm.ReIDMetric', rerank=dict(k1=2))], 'euclidean', True),
])
def test_distance_and_re_ranking_are_those_of_the_test(section, log, evaluator,
                                                       distance, reranked):
    facts = section(small_features(), log=log, test_evaluator=evaluator).facts
    assert facts['distance'] == distance
    assert facts.get('re-ranking') == (
        'k1 = 2, k2 = 6, lambda_value = 0.3' if reranked else None)


# -- what may be missing -----------------------------------------------------


def test_training_without_a_feature_file(section):
    ((why, how),) = section().missing.values()
    assert 'no feature file' in why
    assert '--dump features.npz' in how


@pytest.mark.parametrize(('changes', 'why'), [
    (dict(pid=np.full(7, -1)), 'negative pid'),
    (dict(feature=np.full((7, 2), np.inf)), 'NaN'),
    (dict(pid=np.ones(7, int)), 'one person'),
])
def test_features_of_no_use(section, changes, why):
    view = section(small_features(**changes))
    ((reason, _),) = view.missing.values()
    assert why in reason
    assert view.tables == {}


def test_queries_without_a_positive_match(section):
    """Lists are shown all the same, of the first queries."""
    view = section(small_features(pid=np.arange(1, 8)))
    assert '3 queries' in view.missing['mAP, CMC and the distances of pairs'][0]
    assert [title[:26] for title in view.images] == [
        f'query query/{k}/1/a, camera 1'[:26] for k in (1, 2)]
    assert [row[2:4] for row in view.tables['All queries']] == 3 * [[DASH, DASH]]


def test_no_samples_no_rank_panels(section):
    assert not any('query' in title
                   for title in section(small_features(), num_samples=0).images)


@pytest.mark.parametrize(('settings', 'why'), [
    (dict(config=False), 'no config'),
    (dict(data_root=None), "'nowhere'"),
    (dict(test_dataloader=dict(dataset=dict(
        query=dict(type='Unheard'), gallery=dict(type='Unheard')))), 'Unheard'),
])
def test_without_images_all_else_stays(section, settings, why):
    view = section(small_features(), **settings)
    assert list(view.missing) == ['the rank panels']
    reason, how = view.missing['the rank panels']
    assert why in reason
    assert '--data-root' in how
    assert (len(view.images), len(view.tables)) == (2, 2)


def test_images_of_other_tracklets(section):
    names = np.array(['<script>', '$x$', 'a b', 'd', 'e', 'f', 'g'])
    view = section(small_features(tracklet_id=names))
    assert 'no image' in view.missing['the rank panels'][0]
    assert {row[0] for row in view.tables['All queries']} == set(names[:3])


def test_without_scipy_the_plain_metrics_stay(section, monkeypatch):
    monkeypatch.setitem(sys.modules, 'scipy.sparse', None)
    view = section(small_features(), log={'reid/mAP': 1., 'reid/rerank_mAP': 1.})
    assert 'scipy' in view.missing['the re-ranked metrics'][1]
    assert [row[0] for row in view.tables['Metrics']] == ['euclidean distance']

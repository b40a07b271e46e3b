"""What is shown of a feature file agrees with what a test says of it."""
import numpy as np
import pytest

from cosam_mm.evaluation.functional.retrieval import retrieval_metrics
from cosam_mm.evaluation.metrics.reid_metric import evaluate_features
from cosam_mm.visualization.reid_review import review_features
from tests.reid_pictures_data import small_features


def random_features(seed=0, num_query=15, num_gallery=60):
    """Persons and cameras at random, unknown cameras and unreadable ones too."""
    rng = np.random.default_rng(seed)
    count = num_query + num_gallery
    pid = rng.integers(8, size=count)
    return dict(
        feature=(rng.normal(size=(8, 5))[pid] + rng.normal(size=(count, 5))).astype(
            np.float32), pid=pid, camid=rng.integers(-1, 3, size=count),
        subset=np.array(['query'] * num_query + ['gallery'] * num_gallery),
        tracklet_id=np.array([f't{k}' for k in range(count)]),
        unreadable=rng.random(count) < .1)


@pytest.mark.parametrize('distance', ['euclidean', 'cosine'])
@pytest.mark.parametrize('rerank', [False, True, dict(k1=5, k2=2, lambda_value=.5)])
def test_figures_are_those_of_the_test(distance, rerank):
    features = random_features()
    result = evaluate_features(features, distance, rerank)
    review = review_features(features, distance, rerank)
    assert list(review.rankings) == [f'{distance} distance', 're-ranked'][
        :2 if rerank else 1]
    for prefix, ranking in zip(('', 'rerank_'), review.rankings.values()):
        found = retrieval_metrics(ranking.ranks, 20)
        assert found.mean_ap == result.metrics[f'{prefix}mAP']
        assert found.mean_inp == result.metrics[f'{prefix}mINP']
        for k in (1, 5, 10, 20):
            assert found.cmc[k - 1] == result.metrics[f'{prefix}R{k}']
    names = review.features['tracklet_id']
    valid = review.ranking.ranks.valid
    assert tuple(names[review.query[~valid]]) == result.queries_without_match
    assert len(review.query) == result.num_queries
    assert len(review.gallery) == result.num_gallery
    assert review.rerank == result.rerank


def test_lists_name_rows_of_the_file():
    review = review_features(small_features(), topk=3)
    names = review.features['tracklet_id']
    first = names[review.gallery[review.ranking.lists.index[0]]].tolist()
    assert first == ['gallery/1/1/b', 'gallery/4/1/a', 'gallery/1/2/a']
    assert review.ranking.lists.rank[0].tolist() == [0, 1, 2]
    assert review.ranking.lists.distance[0].tolist() == [1, 2, 3]


def test_no_truth_is_no_error():
    review = review_features(small_features(pid=np.arange(7)))
    assert not review.has_truth
    assert review.ranking.pairs.same.sum() == 0


@pytest.mark.parametrize(('changes', 'match'), [
    (dict(pid=np.full(7, -1)), '7 tracklets have a negative pid'),
    (dict(feature=np.full((7, 2), np.nan)), 'NaN or infinity in their features'),
    (dict(subset=np.array(['query'] * 7)), 'No readable gallery tracklet'),
])
def test_useless_features(changes, match):
    with pytest.raises(ValueError, match=match):
        review_features(small_features(**changes))


def test_wrong_options():
    with pytest.raises(ValueError, match="distance must be one of .* got 'l1'"):
        review_features(small_features(), 'l1')
    with pytest.raises(ValueError, match='k must be an integer of at least 1, got 0'):
        review_features(small_features(), topk=0)

"""CMC curves and histograms of distances; their numbers agree with the test's."""
import numpy as np
import pytest

from cosam_mm.evaluation.functional.ranked_lists import (
    PairHistogram,
    Separation,
    separation,
)
from cosam_mm.evaluation.functional.ranking import retrieval_metrics
from cosam_mm.evaluation.reid_evaluation import evaluate_features
from cosam_mm.visualization.reid_plots import (
    describe_separation,
    plot_cmc,
    plot_distances,
    review_features,
)
from cosam_mm.visualization.style import figure_svg

CURVES = {'plain': np.linspace(.5, .975, 20), '$re$<ranked>': np.linspace(.6, 1, 20)}
PAIRS = PairHistogram(np.arange(7.), np.array([0, 6, 3, 1, 0, 0]),
                      np.array([0, 0, 10, 20, 60, 10]))


def random_features(num_query=15, num_gallery=60):
    """Random persons and cameras, unknown cameras and unreadable tracklets too."""
    rng = np.random.default_rng(0)
    count = num_query + num_gallery
    pid = rng.integers(8, size=count)
    return dict(
        feature=(rng.normal(size=(8, 5))[pid] + rng.normal(size=(count, 5))).astype(
            np.float32), pid=pid, camid=rng.integers(-1, 3, size=count),
        subset=np.array(['query'] * num_query + ['gallery'] * num_gallery),
        tracklet_id=np.array([f't{k}' for k in range(count)]),
        unreadable=rng.random(count) < .1)


# -- rankings --------------------------------------------------------------------


@pytest.mark.parametrize(('distance', 'rerank'), [
    ('euclidean', False), ('cosine', True),
    ('euclidean', dict(k1=5, k2=2, lambda_value=.5))])
def test_metrics_are_those_of_the_test(distance, rerank):
    features = random_features()
    result = evaluate_features(features, distance, rerank)
    review = review_features(features, distance, rerank)
    assert list(review.rankings) == [f'{distance} distance', 're-ranked'][
        :2 if rerank else 1]
    for prefix, ranking in zip(('', 'rerank_'), review.rankings.values()):
        metrics = retrieval_metrics(ranking.ranks, 20)
        assert metrics.mean_ap == result.metrics[f'{prefix}mAP']
        assert metrics.mean_inp == result.metrics[f'{prefix}mINP']
        for k in (1, 5, 10, 20):
            assert metrics.cmc[k - 1] == result.metrics[f'{prefix}R{k}']
    names = review.features['tracklet_id']
    valid = review.ranking.ranks.valid
    assert tuple(names[review.query[~valid]]) == result.queries_without_match
    assert len(review.query) == result.num_queries
    assert len(review.gallery) == result.num_gallery
    assert review.rerank == result.rerank


# -- plots -----------------------------------------------------------------------


def legend_texts(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_cmc_curves_and_marks():
    figure = plot_cmc(CURVES)
    lines = figure.axes[0].get_lines()
    for line, curve in zip(lines, CURVES.values()):
        np.testing.assert_array_equal(line.get_xdata(), np.arange(1, 21))
        np.testing.assert_allclose(line.get_ydata(), 100 * curve)
        assert line.get_markevery() == [0, 4, 9, 19]
    assert lines[0].get_marker() != lines[1].get_marker()
    assert legend_texts(figure) == [
        'plain:   R1 50.0 %   R5 60.0 %   R10 72.5 %   R20 97.5 %',
        '$re$<ranked>:   R1 60.0 %   R5 68.4 %   R10 78.9 %   R20 100.0 %']
    svg = figure_svg(figure)
    assert '$re$&lt;ranked&gt;' in svg
    assert '<ranked' not in svg


def test_cmc_of_a_small_gallery():
    figure = plot_cmc({'plain': np.array([.25, .5, 1.])})
    assert legend_texts(figure) == ['plain:   R1 25.0 %']
    assert figure.axes[0].get_xticks().tolist() == [1]


def test_distances_as_shares_of_their_kind():
    figure = plot_distances(PAIRS, separation(PAIRS), 'cosine', num_bins=5)
    axes = figure.axes[0]
    outlines = [patch for patch in axes.patches if not patch.get_fill()]
    for patch, shares in zip(outlines, ([60, 30, 10, 0, 0], [0, 10, 20, 60, 10])):
        values, edges, _ = patch.get_data()
        np.testing.assert_allclose(values, shares)
        np.testing.assert_allclose(edges, [1, 2, 3, 4, 5, 6])
    assert legend_texts(figure) == [
        'one person (10 pairs)', 'two persons (100 pairs)', '3: best threshold']
    assert axes.get_lines()[0].get_xdata() == [3, 3]
    assert axes.get_xlabel() == 'cosine distance'


def test_overlap_in_words():
    text = describe_separation(Separation(5.1234, .05, .0642, .1142, .981), 'euclidean')
    for part in ('euclidean distance of 5.12', '5.0 %', '6.4 %', '11.4 %', '98.1 %'):
        assert part in text

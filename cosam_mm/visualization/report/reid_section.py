"""The section of a report on person re-identification."""
from collections.abc import Sequence
from typing import Any, Optional, Union

import numpy as np
from mmengine.config import Config

from cosam_mm.apis.tracklet_encoder import DISTANCES, configured_distance
from cosam_mm.evaluation.functional.ranked_lists import extreme_queries, separation
from cosam_mm.evaluation.functional.retrieval import RetrievalMetrics, retrieval_metrics
from cosam_mm.evaluation.reid_features import load_features
from cosam_mm.visualization.rank_panel_making import make_panels, place_titles
from cosam_mm.visualization.rank_panels import (
    LEGEND,
    describe_panel,
    draw_rank_panels,
    panel_heading,
)
from cosam_mm.visualization.reid_figures import (
    describe_separation,
    draw_cmc,
    draw_distances,
)
from cosam_mm.visualization.reid_review import ReIDReview, review_features
from cosam_mm.visualization.style import encode_image, figure_svg
from cosam_mm.visualization.tracklet_images import TrackletImages, find_tracklet_images

from .content import Block, Facts, Missing, Picture, Section, Table, Text
from .work_dir import ReportOptions, WorkDir
from .work_dir_collection import read_config, read_test_log

__all__ = ['build_section']

_KEY, _TITLE = 'reid', 'Person re-identification'
_RANKS = (1, 5, 10, 20)
_HOW = 'python tools/test.py CONFIG CHECKPOINT --dump features.npz'


def build_section(found: WorkDir, options: ReportOptions) -> Optional[Section]:
    """Figures, curves, rank panels and all queries of the newest feature file.

    Returns:
        None where neither a feature file nor the config is of re-identification.
    """
    config = _config(found)
    if not found.feature_files:
        if config is None or _metric(config) is None:
            return None
        return Section(_KEY, _TITLE, blocks=(Missing(
            'figures, curves and rank panels', 'there is no feature file', _HOW),))
    path = found.feature_files[0]
    blocks: list[Block] = []
    try:
        review = _review(str(path), _settings(found, config), options.progress, blocks)
    except (ValueError, OSError) as error:
        blocks.append(Missing('figures, curves and rank panels', str(error), _HOW))
        return Section(_KEY, _TITLE, blocks=tuple(blocks))
    blocks[:0] = _rating(review)
    blocks += _panels(review, found, config, options)
    blocks.append(_all_queries(review))
    lead = (f'How the {len(review.gallery):,} tracklets of the gallery are ranked for '
            f'each of {len(review.query):,} queries, from {path.name}.')
    return Section(_KEY, _TITLE, lead, tuple(blocks))


# -- how the test was done ---------------------------------------------------


def _config(found: WorkDir) -> Optional[Config]:
    try:
        return None if found.config is None else read_config(found.config)
    except (ValueError, OSError):
        return None  # the summary names files that cannot be read


def _metric(config: Config) -> Optional[dict]:
    """Config of the metric of a re-identification test."""
    evaluators = config.get('test_evaluator') or ()
    if isinstance(evaluators, dict):
        evaluators = [evaluators]
    return next((one for one in evaluators
                 if isinstance(one, dict) and one.get('type') == 'ReIDMetric'), None)


def _test_log(found: WorkDir) -> dict[str, Any]:
    """What the newest test of re-identification wrote down."""
    for path in reversed(found.test_logs):
        try:
            log = read_test_log(path)
        except (ValueError, OSError):
            continue
        if 'reid/mAP' in log:
            return log
    return {}


def _settings(found: WorkDir, config: Optional[Config]) -> dict[str, Any]:
    """Distance and re-ranking of the test, as far as they can be told."""
    log = _test_log(found)
    distance = log.get('reid/distance')
    if distance not in DISTANCES:
        distance = 'euclidean' if config is None else configured_distance(config)
    metric = (None if config is None else _metric(config)) or {}
    rerank: Union[bool, dict] = metric.get('rerank') or 'reid/rerank_mAP' in log
    return dict(distance=distance, rerank=rerank)


def _review(path: str, settings: dict[str, Any], progress: bool,
            blocks: list[Block]) -> ReIDReview:
    features = load_features(path)
    try:
        return review_features(features, **settings, progress=progress)
    except ImportError as error:
        blocks.append(Missing('the re-ranked figures', str(error),
                              'pip install scipy'))
        return review_features(features, settings['distance'], progress=progress)


# -- figures and curves ------------------------------------------------------


def _rating(review: ReIDReview) -> list[Block]:
    facts = _facts(review)
    if not review.has_truth:
        return [facts, Missing(
            'mAP, CMC and the distances of pairs',
            f'none of the {len(review.query):,} queries has a tracklet of the same '
            'person from another camera in the gallery')]
    figures = {name: retrieval_metrics(ranking.ranks, max(_RANKS))
               for name, ranking in review.rankings.items()}
    return [_table(figures), facts, _cmc(figures), *_distances(review)]


def _table(figures: dict[str, RetrievalMetrics]) -> Table:
    rows = [(name, *(100 * float(value) for value in (
        one.mean_ap, *(one.cmc[k - 1] for k in _RANKS), one.mean_inp)))
        for name, one in figures.items()]
    some = next(iter(figures.values()))
    caption = f'In percent. Means over {some.num_valid:,} queries'
    if some.num_without_match:
        caption += (f'; {some.num_without_match:,} more have no tracklet of the same '
                    'person from another camera in the gallery')
    return Table('Figures', ('ranking', 'mAP', *(f'R{k}' for k in _RANKS), 'mINP'),
                 rows, f'{caption}.', digits=1)


def _facts(review: ReIDReview) -> Facts:
    features = review.features
    stated = [(name, features[key] or 'not stated') for name, key in (
        ('data set', 'dataset'), ('protocol', 'protocol'), ('split', 'split'),
        ('clips', 'clip_sampling')) if features[key] or key != 'split']
    rows = [*stated, ('distance', review.distance)]
    if review.rerank:
        rows.append(('re-ranking', ', '.join(
            f'{name} = {value}' for name, value in review.rerank.items())))
    unreadable = int(features['unreadable'].sum())
    rows += [('queries', len(review.query)), ('gallery', len(review.gallery))]
    if unreadable:
        rows.append(('unreadable tracklets, left out', unreadable))
    return Facts(rows)


def _cmc(figures: dict[str, RetrievalMetrics]) -> Picture:
    values = '; '.join(
        f'{name}: ' + ', '.join(f'R{k} {100 * one.cmc[k - 1]:.1f} %' for k in _RANKS)
        for name, one in figures.items())
    return Picture(
        'CMC curve', figure_svg(draw_cmc(
            {name: one.cmc for name, one in figures.items()}, _RANKS)),
        f'Cumulative matching curve. {values}.',
        'Share of the queries that have a right tracklet among their first k.')


def _distances(review: ReIDReview) -> list[Block]:
    pairs = review.ranking.pairs
    if not pairs.different.any():
        return [Missing('the distances of pairs', 'all tracklets are of one person')]
    found = separation(pairs)
    words = describe_separation(found, review.distance)
    return [Picture(
        'Distances of pairs', figure_svg(draw_distances(
            pairs, found, review.distance)),
        f'Histogram of the distances of pairs of one person and of two. {words}',
        f'{words} Pairs that do not count, of one person in one camera, are left out.')]


# -- queries -----------------------------------------------------------------


def _images(review: ReIDReview, found: WorkDir, config: Optional[Config]
            ) -> Union[TrackletImages, Missing]:
    def missing(why: str) -> Missing:
        return Missing('the rank panels', why, 'python tools/report.py WORK_DIR '
                       '--data-root FOLDER_OF_THE_DATA_SET')
    if config is None:
        return missing('no config says where the images are')
    root = None if found.data_root is None else str(found.data_root)
    try:
        return find_tracklet_images(config, root, review.features['split'])
    except Exception as error:  # anyone's data set may fail in any way of its own
        return missing(str(error))


def _panels(review: ReIDReview, found: WorkDir, config: Optional[Config],
            options: ReportOptions) -> list[Block]:
    extremes = extreme_queries(review.ranking.ranks, options.num_samples)
    titles = place_titles(extremes)
    chosen = list(titles) or list(range(min(options.num_samples, len(review.query))))
    if not chosen:
        return []
    images = _images(review, found, config)
    if isinstance(images, Missing):
        return [images]
    panels = make_panels(
        review, review.ranking, chosen, images,
        [titles.get(query, '') for query in chosen], progress=options.progress)
    if all(panel.images[0] is None for panel in panels):
        return [Missing(
            'the rank panels', 'no image of these tracklets is in the data set of '
            f'{len(images):,} tracklets that the config names',
            'name the data set of this feature file with --data-root')]
    pictures = [Picture(
        panel_heading(panel), encode_image(draw_rank_panels([panel], is_alone=False),
                                           'webp', 80), describe_panel(panel))
        for panel in panels]
    return [_panel_words(extremes.best, extremes.worst), *pictures]


def _panel_words(best: Sequence[int], worst: Sequence[int]) -> Text:
    which = 'Some queries'
    if len(best):
        which = f'The {len(best)} best and the {len(worst)} worst queries by average ' \
                'precision (AP)'
    green, red, grey = LEGEND.values()
    return Text(
        f'{which}, each with the tracklets that are nearest to it. Green with a tick, '
        f'{green}. Red with a cross, {red}. Grey with a dash, {grey}. Below a picture '
        'stand its rank and its distance to the query.')


def _all_queries(review: ReIDReview) -> Table:
    features, ranks = review.features, review.ranking.ranks
    rows = []
    for query, row in enumerate(review.query):
        valid, camid = ranks.num_matches[query] > 0, int(features['camid'][row])
        rows.append((
            str(features['tracklet_id'][row]), camid if camid >= 0 else None,
            100 * float(ranks.average_precision[query]) if valid else None,
            int(ranks.first_rank[query]) if valid else None,
            int(ranks.num_matches[query])))
    rows.sort(key=lambda row: np.inf if row[2] is None else row[2])
    return Table(
        'All queries', ('query', 'camera', 'AP in %', 'first right rank',
                        'right ones in the gallery'), rows,
        f'By {review.distance} distance, the worst first. Queries without a right '
        'tracklet in the gallery have no AP.', digits=1)

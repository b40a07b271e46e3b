"""The section on person re-identification: metrics, curves, rank panels, queries."""
from typing import Any

import numpy as np

from cosam_mm.apis.tracklet_encoder import DISTANCES, configured_distance
from cosam_mm.evaluation.functional.ranked_lists import extreme_queries, separation
from cosam_mm.evaluation.functional.ranking import retrieval_metrics
from cosam_mm.evaluation.reid_features import load_features
from cosam_mm.visualization import rank_panels, reid_plots
from cosam_mm.visualization.reid_plots import ReIDReview
from cosam_mm.visualization.style import encode_image

from . import page
from .page import Block
from .work_dir_collection import WorkDir

__all__ = ['build_section']

_RANKS = (1, 5, 10, 20)
_WHAT = 'metrics, curves and rank panels'
_HOW = 'python tools/test.py CONFIG CHECKPOINT --dump features.npz'


def build_section(found: WorkDir, num_samples: int, progress: bool
                  ) -> tuple[str, list[Block]]:
    """Lead and blocks: metrics, curves, rank panels, and all queries."""
    blocks = []
    for path in found.feature_files:
        try:
            review = _review(found, load_features(str(path)), progress, blocks)
        except (ValueError, OSError) as error:
            blocks.append(page.missing(_WHAT, str(error), _HOW))
            continue
        lead = (f'How the {len(review.gallery):,} tracklets of the gallery are ranked '
                f'for each of {len(review.query):,} queries, from {path.name}.')
        return lead, [*_metrics(review, found), *blocks,
                      *_panels(review, found, num_samples, progress),
                      _all_queries(review)]
    return '', blocks or [page.missing(_WHAT, 'there is no feature file', _HOW)]


def _review(found: WorkDir, features: dict, progress: bool,
            blocks: list[Block]) -> ReIDReview:
    """Rankings by the distance and re-ranking of the test, as far as they are known."""
    log = next((metrics for _, metrics in reversed(found.test_logs)
                if 'reid/mAP' in metrics), {})
    distance = log.get('reid/distance')
    if distance not in DISTANCES:
        distance = configured_distance(found.config)
    rerank = found.reid_evaluator.get('rerank') or 'reid/rerank_mAP' in log
    try:
        return reid_plots.review_features(features, distance, rerank, progress=progress)
    except ImportError as error:
        blocks.append(page.missing('the re-ranked metrics', str(error),
                                   'pip install scipy'))
        return reid_plots.review_features(features, distance, progress=progress)


# -- metrics and curves --------------------------------------------------------------


def _metrics(review: ReIDReview, found: WorkDir) -> list[Block]:
    """A table, facts, the CMC curve and the distances of pairs."""
    facts = page.facts(_facts(review, found))
    if not review.has_positive_match:
        return [facts, page.missing(
            'mAP, CMC and the distances of pairs',
            f'none of the {len(review.query):,} queries has a tracklet of the same '
            'person from another camera in the gallery')]
    metrics = {name: retrieval_metrics(ranking.ranks, max(_RANKS))
               for name, ranking in review.rankings.items()}
    rows = {name: [100 * float(value) for value in (
        one.mean_ap, *(one.cmc[k - 1] for k in _RANKS), one.mean_inp)]
        for name, one in metrics.items()}
    some = next(iter(metrics.values()))
    caption = f'In percent. Means over {some.num_valid:,} queries'
    if some.num_without_match:
        caption += (f'; {some.num_without_match:,} more have no tracklet of the same '
                    'person from another camera in the gallery')
    names = [f'R{k}' for k in _RANKS]
    values = '; '.join(f'{name}: ' + ', '.join(
        f'{rank} {value:.1f} %' for rank, value in zip(names, row[1:]))
        for name, row in rows.items())
    curves = {name: one.cmc for name, one in metrics.items()}
    return [
        page.table('Metrics', ['ranking', 'mAP', *names, 'mINP'],
                   [(name, *row) for name, row in rows.items()], f'{caption}.',
                   digits=1), facts,
        page.plot('CMC curve', reid_plots.plot_cmc(curves, _RANKS),
                  f'Cumulative matching curve. {values}.',
                  'Share of the queries with a positive match among their first k.'),
        _distances(review)]


def _facts(review: ReIDReview, found: WorkDir) -> list[tuple[str, Any]]:
    features = review.features
    rows = [(name, features[key] or 'not stated') for name, key in (
        ('data set', 'dataset'), ('protocol', 'protocol'), ('split', 'split'),
        ('clips', 'clip_sampling')) if features[key] or key != 'split']
    rerank = [f'{name} = {value}' for name, value in (review.rerank or {}).items()]
    rows += [('distance', review.distance),
             *([('re-ranking', ', '.join(rerank))] if rerank else []),
             ('queries', len(review.query)), ('gallery', len(review.gallery))]
    rows += found.weights_fact(features)
    unreadable = int(features['unreadable'].sum())
    return rows + [('unreadable tracklets, left out', unreadable)] * bool(unreadable)


def _distances(review: ReIDReview) -> Block:
    pairs = review.ranking.pairs
    best = separation(pairs)
    words = reid_plots.describe_separation(best, review.distance)
    return page.plot(
        'Distances of pairs', reid_plots.plot_distances(pairs, best, review.distance),
        f'Histogram of the distances of pairs of one person and of two. {words}',
        f'{words} Pairs that do not count, of one person in one camera, are left out.')


# -- queries -------------------------------------------------------------------------


def _panels(review: ReIDReview, found: WorkDir, num_samples: int, progress: bool
            ) -> list[Block]:
    extremes = extreme_queries(review.ranking.ranks, num_samples)
    titles = rank_panels.query_titles(extremes)
    chosen = list(titles) or list(range(min(num_samples, len(review.query))))
    if not chosen:
        return []
    try:
        if found.config_file is None:
            raise ValueError('no config says where the images are')
        images = rank_panels.find_tracklet_images(
            found.config, str(found.data_root) if found.data_root else None,
            review.features['split'])
        panels = rank_panels.make_panels(
            review, review.ranking, chosen, images,
            [titles.get(query, '') for query in chosen], progress=progress)
        if all(panel.images[0] is None for panel in panels):
            raise ValueError('no image of these tracklets is in the data set of '
                             f'{len(images):,} tracklets that the config names')
    except Exception as error:  # anyone's data set may fail in any way of its own
        return [page.missing(
            'the rank panels', str(error), 'python tools/report.py WORK_DIR '
            '--data-root FOLDER_OF_THE_DATA_SET')]
    which = f'The {len(extremes.best)} best and the {len(extremes.worst)} worst ' \
            'queries by average precision (AP)' if titles else 'Some queries'
    green, red, grey = rank_panels.LEGEND.values()
    return [page.text(
        f'{which}, each with the tracklets that are nearest to it. Green with a tick, '
        f'{green}. Red with a cross, {red}. Grey with a dash, {grey}. Each image has '
        'its rank and its distance to the query below it.'),
        *(page.image(rank_panels.panel_heading(panel), encode_image(
            rank_panels.draw_rank_panels([panel], is_alone=False), 'webp', 80),
            rank_panels.describe_panel(panel)) for panel in panels)]


def _all_queries(review: ReIDReview) -> Block:
    """Of each query average precision, rank of the first match, and matches."""
    features, ranks, rows = review.features, review.ranking.ranks, []
    for query, row in enumerate(review.query):
        count, camid = int(ranks.num_matches[query]), int(features['camid'][row])
        rows.append((
            str(features['tracklet_id'][row]), camid if camid >= 0 else None,
            100 * float(ranks.average_precision[query]) if count else None,
            int(ranks.first_rank[query]) if count else None, count))
    rows.sort(key=lambda row: np.inf if row[2] is None else row[2])
    return page.table('All queries', [
        'query', 'camera', 'AP in %', 'rank of the first match',
        'matches in the gallery'], rows,
        f'By {review.distance} distance, the worst first. Queries without a positive '
        'match in the gallery have no AP.', digits=1)

"""Show queries beside the gallery tracklets that a model finds most similar.

    python tools/test.py CONFIG CHECKPOINT --dump features.npz
    python tools/visualizations/visualize_ranks.py features.npz --config CONFIG

writes rank panels of the best and the worst queries by average precision, the CMC
curve, and a histogram of the distances of pairs of one person and of two.
"""
from pathlib import Path

from mmengine.config import Config

import cosam_mm  # noqa: F401
from cosam_mm.apis.model_loading import read_trained_model, weights_sha256
from cosam_mm.apis.tracklet_encoder import (
    DISTANCES,
    TrackletEncoder,
    configured_distance,
)
from cosam_mm.evaluation.functional.ranked_lists import extreme_queries, separation
from cosam_mm.evaluation.functional.ranking import retrieval_metrics
from cosam_mm.evaluation.provenance import describe_other_weights
from cosam_mm.evaluation.reid_features import load_features
from cosam_mm.utils.cli import (
    CommandParser,
    add_no_verify,
    one_line_errors,
    positive_int,
)
from cosam_mm.utils.io import check_destination
from cosam_mm.visualization.rank_panels import (
    RankMasks,
    draw_rank_panels,
    find_queries,
    find_tracklet_images,
    make_panels,
    panel_heading,
    query_titles,
    read_frame,
)
from cosam_mm.visualization.reid_plots import (
    describe_separation,
    plot_cmc,
    plot_distances,
    review_features,
)
from cosam_mm.visualization.report.work_dir_collection import collect_work_dir
from cosam_mm.visualization.style import encode_image, figure_png

MAX_RANK = 20  # of the CMC curve


def parse_args():
    parser = CommandParser(description=__doc__)
    parser.add_argument('features', metavar='FEATURES.npz',
                        help='feature file (tools/test.py --dump)')
    parser.add_argument('--config', help='config of the test, which says where the '
                        'images are (default: the one that a training or test has '
                        'left in the folder of FEATURES.npz or below, read as data)')
    parser.add_argument('--data-root', metavar='DIR',
                        help="folder of the data set (default: the config's)")
    parser.add_argument('--query', nargs='+', metavar='ID',
                        help='tracklets to show instead of the best and worst queries')
    parser.add_argument('--num', type=positive_int, default=5, metavar='N',
                        help='best and worst queries to show, of each (default: 5)')
    parser.add_argument('--topk', type=positive_int, default=10, metavar='K',
                        help='gallery tracklets of a query to show (default: 10)')
    parser.add_argument('--frames', type=positive_int, default=1, metavar='N',
                        help='frames of a query to show (default: 1)')
    parser.add_argument('--distance', choices=DISTANCES,
                        help="default: the config's, else euclidean")
    parser.add_argument('--rerank', action='store_true',
                        help='show the re-ranked lists, and both CMC curves')
    parser.add_argument('--masks', metavar='CHECKPOINT',
                        help="lay the masks of this model's COSAM over the images")
    parser.add_argument('--layer', metavar='NAME',
                        help='which COSAM, by a part of its name, as after_layer4 '
                        '(default: the last)')
    parser.add_argument('--device', help='where to compute masks (default: the GPU, if '
                        'there is one)')
    parser.add_argument('--out', metavar='DIR', help='folder for the images '
                        '(default: <FEATURES>_ranks beside FEATURES.npz)')
    add_no_verify(parser)
    args = parser.parse_args()
    if args.layer and not args.masks:
        parser.error('--layer goes with --masks CHECKPOINT')
    return args


def read_test_config(args):
    """The config of the test, or None, and the folder of its data set if known."""
    if args.config:
        if not Path(args.config).is_file():
            raise FileNotFoundError(f'There is no config {args.config}.')
        return Config.fromfile(args.config), args.data_root
    found = collect_work_dir(Path(args.features).parent, args.data_root)
    config = found.config if found.config_file else None
    return config, args.data_root or found.data_root


def main():
    args = parse_args()
    with one_line_errors():
        features = load_features(args.features)
        config, data_root = read_test_config(args)
        if config is None:
            raise ValueError('No config of a test lies below the folder of '
                             f'{args.features}: name it with --config.')
        images = find_tracklet_images(config, data_root, features['split'])
        out = Path(args.out or Path(args.features).with_suffix('').as_posix()
                   + '_ranks')
        check_destination(out / 'cmc.png', overwrite=True)
        read = read_masks(args, features) if args.masks else read_frame
        review = review_features(
            features, args.distance or configured_distance(config), args.rerank,
            args.topk, progress=True)
        queries = find_queries(review, args.query) if args.query else None
        out.mkdir(parents=True, exist_ok=True)
        plot_rankings(review, out)
        draw_panels(review, images, read, queries, args, out)


def read_masks(args, features):
    """Frames under the masks of a model; says if others than it made the features."""
    trained = read_trained_model(args.masks, args.config)
    problem = describe_other_weights(
        features, weights_sha256(trained.state_dict), args.masks)
    if problem:
        print(f'{args.features}: {problem}; masks are those of {args.masks}')
    return RankMasks(TrackletEncoder(trained, device=args.device), args.layer)


def plot_rankings(review, out):
    """CMC of all rankings, and pairs of the first."""
    if not review.has_positive_match:
        print('no query has a positive match in the gallery, so there is no CMC and '
              'no AP: --query shows the lists of queries that you name')
        return
    longest = min(MAX_RANK, len(review.gallery))
    write(out / 'cmc.png', figure_png(plot_cmc(
        {name: retrieval_metrics(ranking.ranks, longest).cmc
         for name, ranking in review.rankings.items()})))
    pairs = review.ranking.pairs
    if pairs.different.any():
        found = separation(pairs)
        write(out / 'distances.png',
              figure_png(plot_distances(pairs, found, review.distance)))
        print(describe_separation(found, review.distance))


def draw_panels(review, images, read, queries, args, out):
    """An image of the chosen queries, or one of the best and one of the worst."""
    ranking = review.reranked or review.ranking
    extremes = extreme_queries(ranking.ranks, args.num)
    titles = query_titles(extremes)
    order = ', re-ranked' if review.reranked else ''
    groups = [('queries', 'Chosen queries', queries)] if queries is not None else [
        ('best', 'Best queries by average precision', extremes.best),
        ('worst', 'Worst queries by average precision', extremes.worst)]
    num_missing = 0
    for name, title, chosen in groups:
        if not len(chosen):
            print(f'no query for {name}.png')
            continue
        panels = make_panels(review, ranking, chosen, images,
                             [titles.get(int(query), '') for query in chosen],
                             args.frames, read, progress=True)
        num_missing += sum(panel.images[0] is None for panel in panels)
        masks = f'; masks of {read.layer}, dark 0 to light 1' if args.masks else ''
        write(out / f'{name}.png',
              encode_image(draw_rank_panels(panels, title + order + masks), 'png'))
        for panel in panels:
            print(f'  {panel_heading(panel)}')
    if num_missing:
        print(f'{num_missing} queries have no image: is it the data set of this '
              'feature file?')


def write(path, data):
    path.write_bytes(data)
    print(path)


if __name__ == '__main__':
    main()

"""Late fusion of several streams' scores, such as RGB and optical flow.

Example:
    python tools/test.py CONFIG RGB.pth --dump rgb.npz
    python tools/test.py CONFIG_FLOW FLOW.pth --dump flow.npz
    python tools/fuse_scores.py rgb.npz flow.npz
"""

import cosam_mm  # noqa: F401
from cosam_mm.evaluation.functional.score_fusion import (
    align_by_id,
    check_finite,
    fuse_scores,
    top_k_accuracy,
)
from cosam_mm.evaluation.metrics.action_metric import load_scores, save_scores
from cosam_mm.evaluation.provenance import describe_other_classes, join
from cosam_mm.utils.cli import CommandParser, one_line_errors


def parse_args():
    parser = CommandParser(description=__doc__)
    parser.add_argument('scores', nargs='+', metavar='SCORES.npz',
                        help='score files of the same videos (tools/test.py --dump)')
    parser.add_argument('--weights', type=float, nargs='+',
                        help='weight of each file (default: all equal)')
    parser.add_argument('--raw', action='store_true',
                        help='average the scores as they are (default: average class '
                        'probabilities)')
    parser.add_argument('--topk', type=int, nargs='+',
                        help='accuracies to print (default: 1 3)')
    parser.add_argument('--out', metavar='FILE.npz', help='write the fused scores')
    return parser.parse_args()


def fuse(args):
    """Read, align, fuse, print and write.

    Raises:
        FileNotFoundError: A score file is missing.
        ValueError: The files do not belong together, or an argument is wrong.
    """
    if args.out and not args.out.endswith('.npz'):
        raise ValueError(f'--out writes an .npz file, got {args.out}.')
    streams = [load_scores(path) for path in args.scores]
    check_same_test(args.scores, streams)
    orders = align_by_id([s['sample_id'] for s in streams],
                         [s['label'] for s in streams])
    scores = [s['score'][order] for s, order in zip(streams, orders)]
    unreadable = sum(s['unreadable'][order] for s, order in zip(streams, orders)) > 0
    first, readable = streams[0], ~unreadable
    if not readable.any():
        raise ValueError('No clip could be read in every stream.')
    for path, score in zip(args.scores, scores):
        check_numbers(path, score[readable], first['sample_id'][readable])
        score[unreadable] = 0  # they mean nothing
    already = first['score_type'] == 'prob'
    fused = fuse_scores(scores, args.weights, softmax=not (args.raw or already))
    label = first['label'][orders[0]]
    num_classes = fused.shape[1]
    if args.topk and max(args.topk) > num_classes:
        raise ValueError(f'--topk {max(args.topk)}: there are {num_classes} classes.')
    topk = args.topk or [k for k in (1, 3) if k <= num_classes]
    width = max(map(len, args.scores))
    for name, score in (*zip(args.scores, scores), ('fused', fused)):
        metrics = top_k_accuracy(score[readable], label[readable], topk)
        print(f'{name:{width}}', *(f' top{k} {v:.4f}' for k, v in metrics.items()))
    if unreadable.any():
        print(f'{int(unreadable.sum())} of {len(label)} clips could not be read in '
              'some stream and are left out')
    if args.out:
        kind = 'logit' if args.raw and not already else 'prob'
        save_scores(args.out, dict(
            first, score=fused, unreadable=unreadable, score_type=kind,
            **join(streams)))
        print(f'written to {args.out}')


def check_same_test(paths, streams):
    """Raise ``ValueError`` unless all files rate the same split in the same way."""
    for key in ('dataset', 'split', 'score_type'):
        for path, stream in zip(paths, streams):
            if stream[key] != streams[0][key]:
                raise ValueError(
                    f'{paths[0]} has {key} {streams[0][key]!r}, {path} has '
                    f'{stream[key]!r}: only scores of one test can be fused.')
    named = [k for k, stream in enumerate(streams) if len(stream['classes'])]
    for k in named:
        problem = describe_other_classes(
            streams[named[0]]['classes'], streams[k]['classes'],
            (paths[named[0]], paths[k]))
        if problem:
            raise ValueError(f'{problem}: only scores of the same classes in the same '
                             'order can be fused.')
    for k in set(range(len(streams))).difference(named):
        print(f'{paths[k]} does not name its classes: nothing tells whether they are '
              'in the order of the others. tools/test.py --dump writes them.')


def check_numbers(path, score, names):
    """Raise ``ValueError`` where a score is NaN or infinite."""
    try:
        check_finite(score, names)
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from None


def main():
    args = parse_args()
    with one_line_errors():
        fuse(args)


if __name__ == '__main__':
    main()

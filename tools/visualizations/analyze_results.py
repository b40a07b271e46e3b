"""Tables and plots of a score file: confusion, class accuracy, hardest clips.

    python tools/test.py CONFIG CHECKPOINT --dump scores.npz
    python tools/visualizations/analyze_results.py scores.npz --config CONFIG

plots the confusion matrix, the accuracy of each class and frames of the clips that are
confused, hardest and nearly right. With a second score file of the same clips

    python tools/visualizations/analyze_results.py plain.npz --compare cosam.npz

also compares the two models clip by clip.
"""
import os
from pathlib import Path

from mmengine.config import Config

import cosam_mm  # noqa: F401
from cosam_mm.apis.model_loading import weights_sha256
from cosam_mm.evaluation.provenance import describe_other_weights
from cosam_mm.utils.cli import (
    CommandParser,
    add_no_verify,
    one_line_errors,
    positive_int,
)
from cosam_mm.utils.io import check_destination, read_checkpoint, unwrap_state_dict
from cosam_mm.utils.messages import table_lines
from cosam_mm.visualization.action_results import (
    compare_results,
    find_class_names,
    read_results,
)
from cosam_mm.visualization.confusion_plots import comparison_plots, result_plots
from cosam_mm.visualization.sample_clips import (
    changed_samples,
    dataset_of_test,
    find_clips,
    plot_strips,
    read_strips,
    sample_groups,
)
from cosam_mm.visualization.style import save_figure


def parse_args():
    parser = CommandParser(description=__doc__)
    parser.add_argument('scores', metavar='SCORES.npz',
                        help='score file (tools/test.py --dump)')
    parser.add_argument('--compare', metavar='OTHER.npz',
                        help='score file of a second model on the same clips')
    parser.add_argument('--config', help='config of the test, which says where the '
                        'clips are and what the classes are called')
    parser.add_argument('--data-root',
                        help="folder that tools/prepare_data.py wrote to (default: "
                        "the config's)")
    parser.add_argument('--classes', metavar='FILE',
                        help='names of the classes, one a line (default: those of the '
                        'score file, else of the data root, else of the checkpoint, '
                        'else the folders of the clips)')
    parser.add_argument('--checkpoint', help='checkpoint that names its classes; says '
                        'so if the scores are of another one')
    parser.add_argument('--out', metavar='DIR',
                        help='folder for the plots (default: <SCORES>_analysis '
                        'beside SCORES.npz)')
    parser.add_argument('--topk', type=positive_int, default=10, metavar='N',
                        help='pairs and clips to list and to show (default: 10)')
    add_no_verify(parser)
    return parser.parse_args()


# -- tables ----------------------------------------------------------------------


def print_table(title, header, rows):
    print('\n  '.join([f'\n{title}', *(table_lines(header, rows) if rows
                                       else ['none'])]))


def print_metrics(results):
    metrics = '  '.join(f'{name} {value:.4f}'
                        for name, value in results.metrics().items())
    print(f'{results.path}: {len(results.label)} clips of {results.num_classes} '
          f'classes\n  {metrics}')
    if results.unreadable:
        print(f'  {len(results.unreadable)} clips could not be read and are left out')


def print_results(results, names, topk):
    print_metrics(results)
    print_table(
        'Most confused pairs', ['true', 'taken for', 'clips', 'share'],
        [[names[pair.true], names[pair.predicted], len(pair.rows),
          f'{pair.share:.1%}'] for pair in results.pairs(topk)])
    for title, rows in (('Hardest clips', results.hardest(topk)),
                        ('Nearly right', results.nearest(topk))):
        print_table(title, ['clip', 'true', 'p', 'predicted', 'p'], [
            [results.sample_id[row], names[results.label[row]],
             f'{results.own_probability(row):.4f}',
             names[results.predicted[row]],
             f'{results.predicted_probability(row):.4f}'] for row in rows])


def print_comparison(comparison, names, topk):
    outcome, label = comparison.outcome, comparison.first.label
    print()
    print_metrics(comparison.second)
    print_table('Clip by clip', ['', 'second right', 'second wrong'], [
        ['first right', len(outcome.both), len(outcome.only_first)],
        ['first wrong', len(outcome.only_second), len(outcome.neither)]])
    print(comparison.describe_p_value())
    won, lost = comparison.class_gain
    clips = comparison.first.class_accuracy.num_clips
    order = sorted((k for k in range(len(names)) if won[k] + lost[k]),
                   key=lambda k: (-(won[k] - lost[k]) / clips[k], k))
    print_table('Classes that change', ['class', 'clips', 'won', 'lost', 'points'],
                [[names[k], clips[k], won[k], lost[k],
                  f'{100 * (won[k] - lost[k]) / clips[k]:+.1f}'] for k in order])
    for is_won, title in ((True, 'Won by the second'), (False, 'Lost by the second')):
        rows = [row for row, wins in comparison.changed() if wins == is_won]
        print_table(f'{title}: {len(rows)} clips', ['clip', 'true', 'first', 'second'],
                    [[comparison.first.sample_id[row], names[label[row]],
                      *(names[side.predicted[row]]
                        for side in (comparison.first, comparison.second))]
                     for row in rows[:topk]])


# -- plots -----------------------------------------------------------------------


def write(path, figure):
    save_figure(figure, path)
    print(f'  {path}')


def write_samples(out, group, results, clips):
    """Plot the clips of a group; say which are left out."""
    strips, problems = read_strips(results, [clip.row for clip in group.clips], clips)
    for problem in problems:
        print(f'  left out: {problem}')
    shown = [clip for clip in group.clips if clip.row in strips]
    if shown:
        write(out / f'{group.key}.png', plot_strips(
            [strips[clip.row] for clip in shown], shown, group.title))


def analyze(args):
    """Read, print and plot.

    Raises:
        FileNotFoundError: A file or folder that was named is missing.
        ValueError: A file is damaged, or two do not belong together.
    """
    if args.config and not os.path.isfile(args.config):
        raise FileNotFoundError(f'There is no config {args.config}.')
    dataset = dataset_of_test(Config.fromfile(args.config) if args.config else None)
    data_root = args.data_root or dataset.get('data_root')
    results = read_results(args.scores)
    names = find_class_names(results, args.classes, data_root, dataset,
                             args.checkpoint)
    if args.checkpoint:
        own = weights_sha256(unwrap_state_dict(read_checkpoint(args.checkpoint)))
        problem = describe_other_weights(results.made_by, own, args.checkpoint)
        print(f'{args.scores}: {problem}\n' * bool(problem), end='')
    out = Path(args.out or f'{os.path.splitext(args.scores)[0]}_analysis')
    check_destination(out / 'plots.png', overwrite=True)
    print_results(results, names, args.topk)
    plots = result_plots(results, names)
    groups = [(group, results) for group in sample_groups(results, names, args.topk)]
    if args.compare:
        comparison = compare_results(results, read_results(args.compare))
        print_comparison(comparison, names, args.topk)
        plots += comparison_plots(comparison, names, args.scores, args.compare)
        changed = changed_samples(comparison, names, args.topk)
        groups += [(changed, comparison.first)] if changed else []
    print('\nPlots')
    for plot in plots:
        write(out / f'{plot.key}.png', plot.figure)
    if data_root is None:
        print('  no frames of clips: give --data-root, or --config with one')
        return
    clips = find_clips(data_root, results.dataset, results.split, results.num_classes,
                       dataset)
    for group, side in groups:
        write_samples(out, group, side, clips)


def main():
    args = parse_args()
    with one_line_errors():
        analyze(args)


if __name__ == '__main__':
    main()

"""Whether a model's attention finds the object, on drawn data that know where it is.

    python tools/analysis_tools/evaluate_masks.py CONFIG epoch_10.pth epoch_20.pth \\
        --untrained --data-root data/reid_demo --out masks.json --plot masks.png

prints for each map and layer, and for each checkpoint, how well the map tells the
pixels of the true silhouette from all others: the area under the ROC curve (AUC; 0.5 is
chance) and the intersection over union at the map's own best threshold and at the
threshold that marks as many pixels as the silhouette has.
"""
import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from mmengine.config import Config, DictAction

import cosam_mm  # noqa: F401
from cosam_mm.utils.cli import one_line_errors

MAPS = ('cosam', 'nonlocal', 'grad_cam', 'feature_energy', 'centre')
TITLES = ('weights', 'epoch', 'map', 'place', 'grid', 'AUC', '+-', 'coarse',
          'best IoU', 'IoU at share')


def whole(text):
    """Reads a whole number of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f'must be 1 or more, got {number}')
    return number


def parse_args(argv: Optional[Sequence[str]] = None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file of the model')
    parser.add_argument('checkpoints', nargs='*', metavar='CHECKPOINT',
                        help='checkpoints of it; several of one training give a curve')
    parser.add_argument('--untrained', action='store_true',
                        help='also the weights that training begins with')
    parser.add_argument('--data-root', required=True, metavar='DIR',
                        help='folder that tools/prepare_data.py demo or reid-demo drew')
    parser.add_argument('--maps', nargs='+', choices=MAPS,
                        help='which maps (default: all that the model has)')
    parser.add_argument('--layers', nargs='+', metavar='NAME',
                        help='modules whose features grad_cam and feature_energy are '
                        'of (default: where COSAMs and non-local blocks stand)')
    parser.add_argument('--num', type=whole, default=32, metavar='N',
                        help='clips or tracklets of the test part, spread evenly '
                        '(default: %(default)s)')
    parser.add_argument('--seed', type=int, metavar='N',
                        help='of the untrained weights (default: that of the first '
                        'checkpoint)')
    parser.add_argument('--device',
                        help='where to compute (default: the GPU, if there is one)')
    parser.add_argument('--out', type=Path, metavar='FILE',
                        help='write all figures as JSON')
    parser.add_argument('--plot', type=Path, metavar='FILE',
                        help='write a PNG of the AUC over epochs and layers')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction,
                        metavar='KEY=VALUE', help='settings of the config to override')
    args = parser.parse_args(argv)
    if not Path(args.config).is_file():
        parser.error(f'there is no config {args.config}')
    if not args.checkpoints and not args.untrained:
        parser.error('give a checkpoint, or --untrained')
    return args


def weights(args, config):
    """Yields (name, epoch, model), before training first."""
    from cosam_mm.visualization.mask_models import load_model, untrained_model
    from projects.attention_study.mask_evaluation import epoch_of
    epochs = [epoch_of(checkpoint) for checkpoint in args.checkpoints]
    if args.plot and None in epochs:
        raise ValueError(f'{args.checkpoints[epochs.index(None)]} does not tell its '
                         'epoch, which --plot needs: leave that out.')
    if args.untrained:
        yield 'untrained', 0, untrained_model(config, args.seed, args.device,
                                              needs_cosam=False)
    for checkpoint, epoch in zip(args.checkpoints, epochs):
        yield (Path(checkpoint).stem, epoch,
               load_model(checkpoint, config, args.device, needs_cosam=False))


def print_table(states):
    from cosam_mm.visualization.mask_drawing import layer_titles
    lines = [TITLES]
    for state in states:
        short = layer_titles({row['place'] for row in state['rows']})
        lines += [(
            state['weights'], '-' if state['epoch'] is None else str(state['epoch']),
            row['map'], short[row['place']] or '-', ' x '.join(map(str, row['grid'])),
            f'{row["auc_mean"]:.3f}', f'{row["auc_deviation"]:.3f}',
            f'{row["coarse_silhouette_auc"]:.3f}', f'{row["best_iou_mean"]:.3f}',
             f'{row["share_iou_mean"]:.3f}')
            for row in state['rows']]
    widths = [max(map(len, column)) for column in zip(*lines)]
    for line in lines:
        print('  '.join(cell.ljust(width) if column < 5 else cell.rjust(width)
                        for column, (cell, width) in enumerate(zip(line, widths)))
              .rstrip())
    row = states[0]['rows'][0]
    print(f'\n{row["num_videos"]} videos, {row["num_frames"]} frames; left out: '
          f'{row["num_frames_left_out"]} whose silhouette is empty or full')
    share = row['share_mean']
    print(f'the silhouette has {100 * share:.1f} % of the pixels: by chance the best '
          f'IoU is {share:.3f} or a little\nmore, that at share about '
          f'{share / (2 - share):.3f}')
    print('+- is the standard deviation between videos; coarse the AUC of the '
          "silhouette itself,\naveraged over the map's places: about the best that "
          'such a map can do')


def plot(states, path):
    """Draw all figures."""
    from cosam_mm.visualization.mask_drawing import layer_titles
    from cosam_mm.visualization.style import figure_png
    from projects.attention_study.mask_agreement_plot import (
        AgreementPoint,
        draw_agreement,
    )
    places = layer_titles(dict.fromkeys(
        row['place'] for state in states for row in state['rows']))
    points = [AgreementPoint(row['map'], places[row['place']], state['epoch'],
                             row['auc_mean'], row['auc_deviation'])
              for state in states for row in state['rows']]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(figure_png(draw_agreement(points)))


def main(argv: Optional[Sequence[str]] = None):
    args = parse_args(argv)
    with one_line_errors():
        from cosam_mm.datasets.synthetic.ground_truth import (
            generation_parameters,
            synthetic_test_videos,
        )
        from cosam_mm.visualization.mask_models import seed_of_training
        from projects.attention_study.mask_evaluation import (
            choose_evenly,
            evaluate_masks,
            split_of_test,
        )
        from projects.attention_study.measurement import describe_environment
        config = Config.fromfile(args.config)
        if args.cfg_options is not None:
            config.merge_from_dict(args.cfg_options)
        split = split_of_test(config)
        videos = choose_evenly(synthetic_test_videos(args.data_root, split), args.num)
        if args.seed is None:
            args.seed = seed_of_training(next(iter(args.checkpoints), None), config)
        states = []
        for name, epoch, model in weights(args, config):
            rows = evaluate_masks(model, videos, args.maps, args.layers, progress=True)
            states.append(dict(weights=name, epoch=epoch,
                               rows=[row.as_dict() for row in rows]))
    print_table(states)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        device = str(next(model.parameters()).device)
        args.out.write_text(json.dumps({
            'command': shlex.join(sys.argv), 'config': args.config,
            'cfg_options': args.cfg_options, 'checkpoints': args.checkpoints,
            'data': generation_parameters(args.data_root), 'split': split,
            'seed': args.seed, 'environment': describe_environment(device),
            'videos': [video.name for video in videos], 'states': states},
            indent=1) + '\n', encoding='utf-8')
    if args.plot:
        plot(states, args.plot)


if __name__ == '__main__':
    main()

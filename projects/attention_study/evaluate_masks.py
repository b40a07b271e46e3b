"""Do the masks find the object? Attention of a model against synthetic silhouettes.

    python -m projects.attention_study.evaluate_masks CONFIG epoch_10.pth \\
        epoch_20.pth --untrained --data-root data/reid_demo --plot masks.png

Synthetic data know the true silhouette of each frame::

    video --- test pipeline, model ---> maps (M, T', h, w)
      |                                   | put on the frames, as far as the network
      v                                   v saw them, interpolated between positions
    generated again --> silhouettes ---> agreement, pixel by pixel

Maps of all resolutions are compared with the same silhouettes, at the pixels. What a
coarse map loses by that stands beside it: the agreement of the silhouette itself,
averaged over the map's positions and brought to the pixels like the map.

Printed for each map and layer, and for each checkpoint, are the area under the ROC
curve (AUC; 0.5 is chance) and the intersection over union at the map's own best
threshold and at the threshold that marks as many pixels as the silhouette has.
"""
import argparse
import json
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Optional

import numpy as np
from mmengine.config import Config, DictAction
from mmengine.dataset import pseudo_collate
from torch import nn

from cosam_mm.apis.model_loading import (
    load_model,
    read_trained_model,
    scope_of,
    seed_of_training,
    untrained_model,
)
from cosam_mm.datasets.synthetic.ground_truth import (
    SyntheticVideo,
    generation_parameters,
    synthetic_test_videos,
)
from cosam_mm.layers import COSAM
from cosam_mm.layers.cosam_functional import evenly_spaced_indices
from cosam_mm.utils.cli import add_no_verify, one_line_errors, positive_int
from cosam_mm.utils.io import read_checkpoint, write_text
from cosam_mm.utils.progress import progress_bar
from cosam_mm.visualization.mask_maps import (
    WHOLE_FRAME,
    Box,
    first_occurrences,
    frame_masks,
    mask_at_pixels,
    seen_pixels,
)
from cosam_mm.visualization.mask_overlay import layer_titles
from cosam_mm.visualization.mask_recorder import ClipReader, padded_view
from cosam_mm.visualization.style import figure_png

from ..text_table import text_table
from .attention_maps import MAPS, AttentionMap, offered_maps, record_attention
from .mask_agreement import (
    AgreementPoint,
    MaskAgreement,
    mask_agreement,
    plot_agreement,
)
from .measurement import describe_environment

# Of a tracklet; synthetic ones are shorter.
_MAX_FRAMES = 64


class MapAgreement(NamedTuple):
    """How one map of a model agrees with the silhouettes, video by video."""
    map: AttentionMap
    grid: tuple[int, int, int]         # (T', h, w), of the map
    videos: Sequence[MaskAgreement]    # of each video its means over frames
    # The same of the silhouette itself at the map's resolution, which is about the best
    # that such a map can do.
    coarse: Sequence[MaskAgreement]

    def values(self, metric: str) -> list[float]:
        """A metric of :class:`MaskAgreement`, of the videos that have it."""
        return [getattr(one, metric) for one in self.videos if one.num_frames]

    def as_dict(self) -> dict:
        """Means and standard deviations (0 of one video) as plain values, for JSON."""
        metrics = {}
        for name in ('auc', 'best_iou', 'share_iou', 'share'):
            values = self.values(name)
            metrics[f'{name}_mean'] = float(np.mean(values))
            metrics[f'{name}_deviation'] = \
                float(np.std(values, ddof=1)) if len(values) > 1 else 0.
        coarse = [one.auc for one in self.coarse if one.num_frames]
        return dict(
            map=self.map.kind, place=self.map.module, grid=list(self.grid), **metrics,
            coarse_silhouette_auc=float(np.mean(coarse)),
            num_videos=len(self.values('auc')),
            num_frames=sum(one.num_frames for one in self.videos),
            num_frames_left_out=sum(one.num_left_out for one in self.videos),
            auc_of_videos=[one.auc if one.num_frames else None for one in self.videos])


def evaluate_masks(model: nn.Module, videos: Sequence[SyntheticVideo],
                   kinds: Optional[Sequence[str]] = None,
                   layers: Optional[Sequence[str]] = None,
                   progress: bool = False) -> list[MapAgreement]:
    """Compare the maps of a model with silhouettes.

    Args:
        model: In evaluation mode, with ``cfg``.
        videos: Of ``synthetic_test_videos`` of
            :mod:`cosam_mm.datasets.synthetic.ground_truth`.
        kinds: Of :data:`~.attention_maps.MAPS`. Default: all that the model offers.
        layers: As for :func:`~.attention_maps.record_attention`.
        progress: Show a bar, where the error stream is a terminal.

    Returns:
        One entry a map and module.

    Raises:
        FileNotFoundError: A video is not there.
        ValueError: There is no video, or one that cannot be read or is no longer as
            generated; no video has a silhouette; the pipeline does more to frames than
            resizes, crops and mirroring; or as for ``record_attention``.
    """
    if not videos:
        raise ValueError('There is no video to look at.')
    kinds = offered_maps(model, layers) if kinds is None else kinds
    clip_len = next((module.num_frames for module in model.modules()
                     if isinstance(module, COSAM)), 1)
    found: dict[AttentionMap, MapAgreement] = {}
    with scope_of(model.cfg):
        reader = ClipReader(model.cfg, clip_len, _MAX_FRAMES)
        for video in progress_bar(videos, 'masks', 'video', show=progress):
            for key, grid, agreement, coarse in _compare(
                    model, reader, video, kinds, layers):
                row = found.setdefault(key, MapAgreement(key, grid, [], []))
                row.videos.append(agreement)
                row.coarse.append(coarse)
    rows = list(found.values())
    if rows and not rows[0].values('auc'):
        raise ValueError('No frame shows both the object and something else.')
    return rows


def _compare(model: nn.Module, reader: ClipReader, video: SyntheticVideo,
             kinds: Sequence[str], layers: Optional[Sequence[str]]) -> Iterator[tuple]:
    """Map, grid, agreement, and that of the silhouette at the map's resolution."""
    source = video.source
    clip = reader.read(list(map(str, source)) if isinstance(source, (list, tuple))
                       else str(source))
    if clip.box is None:
        raise ValueError(
            'The test pipeline does more to frames than resizes, crops and mirroring: '
            'where a mask lies on them is not known.')
    ground_truth = _GroundTruth(
        video.silhouettes(clip.numbers, np.stack(clip.frames)),
        first_occurrences(clip.numbers), clip.num_clips,
        padded_view(clip.box, model, clip))
    maps = record_attention(model, pseudo_collate(list(clip.samples)), clip.num_clips,
                            kinds, layers)
    coarse = {grid: ground_truth.agreement(ground_truth.at_resolution(grid))
              for grid in {tuple(values.shape[1:]) for values in maps.values()}}
    for key, values in maps.items():
        grid = tuple(values.shape[1:])
        yield key, grid, ground_truth.agreement(values.numpy()), coarse[grid]


@dataclass(frozen=True)
class _GroundTruth:
    """What the frames of a video's clips show."""
    silhouettes: np.ndarray    # (M * T, H, W) bool
    kept: np.ndarray           # numbers of the frames that count, each once
    num_clips: int             # M
    box: Box                   # what the network sees of a frame

    def agreement(self, maps: np.ndarray) -> MaskAgreement:
        """Of maps (M, T', h, w), at the pixels that the network sees."""
        size = self.silhouettes.shape[1:]
        seen = seen_pixels(size, self.box)
        of_frames = frame_masks(maps, len(self.silhouettes) // self.num_clips)
        # In single precision, positions of one value stay ties between their centres.
        placed = np.stack([mask_at_pixels(mask, size, self.box)[seen]
                           for mask in of_frames[self.kept]]).astype(np.float32)
        return mask_agreement(placed, self.silhouettes[self.kept][:, seen])

    def at_resolution(self, grid: tuple[int, int, int]) -> np.ndarray:
        """The silhouettes as maps (M, T', h, w)."""
        means = np.stack([average_positions(one, grid[1:], self.box)
                          for one in self.silhouettes])
        return step_means(means.reshape(self.num_clips, -1, *grid[1:]), grid[0])


def step_means(frames: np.ndarray, num_steps: int) -> np.ndarray:
    """Average the T frames that share a mask: (M, T, h, w) to (M, num_steps, h, w)."""
    steps = np.arange(frames.shape[1]) * num_steps // frames.shape[1]
    return np.stack([frames[:, steps == step].mean(1) for step in range(num_steps)], 1)


def average_positions(values: np.ndarray, grid: tuple[int, int],
                      box: Box = WHOLE_FRAME) -> np.ndarray:
    """Average the pixels of a frame (H, W) over the positions of a mask (h, w).

    Pixels outside of ``box``, the view of the mask, do not count. Positions without the
    centre of a pixel are 0.
    """
    count = grid[0] * grid[1]
    numbers = np.arange(float(count)).reshape(grid)
    position = mask_at_pixels(numbers, values.shape, box, smooth=False).round()
    seen = seen_pixels(values.shape, box)
    position = position[seen].astype(int)
    pixels = np.bincount(position, minlength=count)
    sums = np.bincount(position, values[seen], count)
    return (sums / np.maximum(pixels, 1)).reshape(grid)


# -- command -------------------------------------------------------------------

TITLES = ('weights', 'epoch', 'map', 'layer', 'grid', 'AUC', '+-', 'coarse',
          'best IoU', 'IoU at share')
_NUMBERS = ('auc_mean', 'auc_deviation', 'coarse_silhouette_auc', 'best_iou_mean',
            'share_iou_mean')


def parse_args(argv: Optional[Sequence[str]] = None):
    parser = argparse.ArgumentParser(
        prog='python -m projects.attention_study.evaluate_masks', description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file of the model')
    parser.add_argument('checkpoints', nargs='*', metavar='CHECKPOINT',
                        help='checkpoints of it; several of one training give a curve')
    parser.add_argument('--untrained', action='store_true',
                        help='also the weights that training begins with')
    parser.add_argument('--data-root', required=True, metavar='DIR',
                        help='folder that tools/prepare_data.py demo or reid-demo '
                        'generated')
    parser.add_argument('--maps', nargs='+', choices=MAPS,
                        help='which maps (default: all that the model has)')
    parser.add_argument('--layers', nargs='+', metavar='NAME',
                        help='modules whose features grad_cam and feature_energy are '
                        'of (default: COSAMs and non-local blocks)')
    parser.add_argument('--num', type=positive_int, default=32, metavar='N',
                        help='clips or tracklets of the test part, spread evenly '
                        '(default: %(default)s)')
    parser.add_argument('--seed', type=int, metavar='N',
                        help='of the untrained weights (default: that of the first '
                        'checkpoint)')
    parser.add_argument('--device',
                        help='where to compute (default: the GPU, if there is one)')
    parser.add_argument('--out', type=Path, metavar='FILE',
                        help='write all numbers as JSON')
    parser.add_argument('--plot', type=Path, metavar='FILE',
                        help='write a PNG of the AUC over epochs and layers')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction,
                        metavar='KEY=VALUE', help='settings of the config to override')
    add_no_verify(parser)
    args = parser.parse_args(argv)
    if not Path(args.config).is_file():
        parser.error(f'there is no config {args.config}')
    if not args.checkpoints and not args.untrained:
        parser.error('give a checkpoint, or --untrained')
    return args


def weights(args, config):
    """Yields (name, epoch, model), before training first."""
    contents = map(read_checkpoint, args.checkpoints)
    epochs = [(content.get('meta') or {}).get('epoch')
              if isinstance(content, dict) else None for content in contents]
    if args.plot and None in epochs:
        raise ValueError(f'{args.checkpoints[epochs.index(None)]} does not tell its '
                         'epoch, which --plot needs: leave that out.')
    if args.untrained:
        yield 'untrained', 0, untrained_model(config, args.seed, args.device)
    for checkpoint, epoch in zip(args.checkpoints, epochs):
        yield (Path(checkpoint).stem, epoch,
               load_model(checkpoint, config, args.device))


def print_table(states):
    """Print a line for each map of each checkpoint, and what chance would reach."""
    lines = [TITLES]
    for state in states:
        short = layer_titles({row['place'] for row in state['rows']})
        lines += [(
            state['weights'], '-' if state['epoch'] is None else str(state['epoch']),
            row['map'], short[row['place']] or '-', ' x '.join(map(str, row['grid'])),
            *(f'{row[name]:.3f}' for name in _NUMBERS)) for row in state['rows']]
    print(text_table(lines, 5))
    row = states[0]['rows'][0]
    print(f'\n{row["num_videos"]} videos, {row["num_frames"]} frames; left out: '
          f'{row["num_frames_left_out"]} whose silhouette is empty or full')
    share = row['share_mean']
    print(f'the silhouette has {100 * share:.1f} % of the pixels: by chance the best '
          f'IoU is {share:.3f} or a little\nmore, that at share about '
          f'{share / (2 - share):.3f}')
    print('+- is the standard deviation between videos; coarse the AUC of the '
          "silhouette itself,\naveraged over the map's positions: about the best that "
          'such a map can do')


def plot(states, path):
    """Write a PNG of AUCs over epochs and layers."""
    titles = layer_titles(dict.fromkeys(
        row['place'] for state in states for row in state['rows']))
    points = [AgreementPoint(row['map'], titles[row['place']], state['epoch'],
                             row['auc_mean'], row['auc_deviation'])
              for state in states for row in state['rows']]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(figure_png(plot_agreement(points)))


def main(argv: Optional[Sequence[str]] = None):
    """The command."""
    args = parse_args(argv)
    with one_line_errors():
        config = Config.fromfile(args.config)
        if args.cfg_options is not None:
            config.merge_from_dict(args.cfg_options)
        loader = config.get('test_dataloader') or config.get('val_dataloader') or {}
        split = (loader.get('dataset') or {}).get('split') or 1
        videos = synthetic_test_videos(args.data_root, split)
        videos = [videos[k] for k in evenly_spaced_indices(
            len(videos), min(args.num, len(videos))).tolist()]
        if args.seed is None:
            args.seed = read_trained_model(args.checkpoints[0], config).seed \
                if args.checkpoints else seed_of_training(config)
        states = []
        for name, epoch, model in weights(args, config):
            rows = evaluate_masks(model, videos, args.maps, args.layers, progress=True)
            states.append(dict(weights=name, epoch=epoch,
                               rows=[row.as_dict() for row in rows]))
    print_table(states)
    if args.out:
        device = str(next(model.parameters()).device)
        write_text(args.out, json.dumps(dict(
            command=shlex.join(sys.argv), config=args.config,
            cfg_options=args.cfg_options, checkpoints=args.checkpoints,
            data=generation_parameters(args.data_root), split=split, seed=args.seed,
            environment=describe_environment(device),
            videos=[video.name for video in videos], states=states), indent=1) + '\n')
    if args.plot:
        plot(states, args.plot)


if __name__ == '__main__':
    main()

"""What becomes of a COSAM's masks when clips get longer or frames larger.

    python -m projects.attention_study.compare_mask_sizes CHECKPOINT VIDEO [VIDEO ...]

Only the backbone runs, for heads are made for one number of tokens. All COSAMs of the
model take any size meanwhile. Masks of other sizes are compared with those of the
clip that the model was trained for, at the same positions and moments.
"""
import argparse
import copy
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import torch
from mmengine.dataset import pseudo_collate
from torch import Tensor, nn
from torch.nn import functional as F

from cosam_mm.apis.model_loading import dataset_of_tests
from cosam_mm.layers import COSAM
from cosam_mm.layers.mask_recording import record_masks
from cosam_mm.utils.cli import one_line_errors
from cosam_mm.utils.progress import progress_bar
from cosam_mm.visualization.mask_recorder import ClipReader
from cosam_mm.visualization.style import figure_png, new_figure

from ..text_table import text_table

_SHOWN = 4  # frames of a mask in the plot


class SizedMask(NamedTuple):
    """The spatial mask of one COSAM for one clip."""
    module: str                   # the COSAM's name in the model
    clip: tuple[int, int, int]    # (T, H, W)
    mask: Tensor                  # (t, h, w), at the features where the module stands
    correlation: float            # with that of the clip that the model was trained for


def compare_mask_sizes(model: nn.Module, video: Any, lengths: Sequence[int] = (),
                       scales: Sequence[float] = ()) -> list[SizedMask]:
    """Masks of a video at the trained size, at other lengths and at other sizes.

    Args:
        model: A 3-D recogniser with ``cfg``, in evaluation mode, as
            ``load_recognizer`` of :mod:`cosam_mm.apis.action_recognizer` returns it.
        video: Of any kind that ``ActionRecognizer`` takes.
        lengths: Frames of the clips about the centre of the video. A shorter video is
            looped.
        scales: Factors by which the frames of the trained clip are resized.

    Returns:
        Of each COSAM with a spatial mask: the trained size, lengths, scales.

    Raises:
        ValueError: The model is no 3-D recogniser, has no COSAM, or a length or scale
            is not positive.
    """
    if min([1, *lengths]) < 1 or min([1, *scales]) <= 0:
        raise ValueError(f'Lengths and scales are positive, got {list(lengths)} and '
                         f'{list(scales)}.')
    trained = _clip(model, video, None)
    clips = [trained, *(_clip(model, video, length) for length in lengths)]
    clips += [_resized(trained, scale) for scale in scales]
    model, runs = copy.deepcopy(model), []
    for module in model.modules():
        if isinstance(module, COSAM):
            module.any_size = True
    for clip in clips:
        with record_masks(model) as record, torch.no_grad():
            model.backbone(clip)
        runs.append({name: masks.spatial[0].float().cpu()
                     for name, masks in record.masks().items()
                     if masks.spatial is not None})
    return [SizedMask(name, tuple(clip.shape[2:]), run[name],
                      mask_correlation(run[name], runs[0][name]))
            for name in runs[0] for clip, run in zip(clips, runs)]


def center_frames(mask: Tensor, num_frames: int) -> Tensor:
    """The ``num_frames`` frames about the centre of a mask (t, h, w).

    Between two frames, where the numbers are not both even or odd, the mean of both.

    Example:
        >>> mask = torch.arange(5.)[:, None, None]
        >>> center_frames(mask, 3).flatten(), center_frames(mask, 2).flatten()
        (tensor([1., 2., 3.]), tensor([1.5000, 2.5000]))
    """
    surplus = mask.shape[0] - num_frames
    first, second = (mask[start:start + num_frames]
                     for start in (surplus // 2, (surplus + 1) // 2))
    return (first + second) / 2


def mask_correlation(mask: Tensor, trained: Tensor) -> float:
    """Pearson correlation of two masks (t, h, w) over the frames that both cover.

    Positions are brought to the size of ``trained``: by linear interpolation, or where
    there are fewer than in ``mask`` by averaging.
    """
    frames = min(mask.shape[0], trained.shape[0])
    pair = [center_frames(m, frames)[:, None] for m in (mask, trained)]
    pair[0] = _resize(pair[0], trained.shape[1:])
    return torch.corrcoef(torch.stack([m.flatten() for m in pair]))[0, 1].item()


def _resize(frames: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(frames, size=size, mode='bilinear', align_corners=False,
                         antialias=True)


def _resized(clip: Tensor, scale: float) -> Tensor:
    """(1, C, T, H, W) with its frames resized."""
    size = [max(round(scale * side), 1) for side in clip.shape[3:]]
    return _resize(clip[0].transpose(0, 1), size).transpose(0, 1)[None]


def _clip(model: nn.Module, video: Any, length: Any) -> Tensor:
    """One centre crop of the middle of a video, as the backbone gets it."""
    config = copy.deepcopy(model.cfg)
    for step in dataset_of_tests(config).get('pipeline') if length else ():
        if str(step['type']).endswith('SampleFrames'):
            step['clip_len'] = length
    samples = ClipReader(config, 1).read(video).samples
    inputs = model.data_preprocessor(pseudo_collate(list(samples)))['inputs']
    if inputs.dim() != 6:
        raise ValueError(
            'Lengths and sizes are compared for 3-D recognisers, whose backbones take '
            f'clips (N, C, T, H, W); this one gets {tuple(inputs.shape[1:])}.')
    return inputs[0, :1]                                           # (1, C, T, H, W)


# -- command -------------------------------------------------------------------


def parse_args(arguments=None):
    parser = argparse.ArgumentParser(
        prog='python -m projects.attention_study.compare_mask_sizes',
        description='Run the backbone of a 3-D recogniser with COSAM on videos, at the '
        'clip length and size that it was trained for and at others, and compare the '
        'spatial masks with those of the trained size. The numbers are means over the '
        'videos.')
    parser.add_argument('checkpoint', help='checkpoint of the recogniser')
    parser.add_argument('videos', nargs='+', metavar='video',
                        help='video file, or folder of images')
    parser.add_argument('--config', help='config file (default: the one in the '
                        'checkpoint)')
    parser.add_argument('--lengths', type=int, nargs='*', metavar='T',
                        help='frames of the clips (default: half, one and a half times '
                        'and twice those of the test pipeline)')
    parser.add_argument('--scales', type=float, nargs='*', metavar='S',
                        default=[0.5, 0.75, 1.5, 2],
                        help='factors by which frames are resized (default: '
                        '0.5 0.75 1.5 2)')
    parser.add_argument('--out', default='mask_sizes.png',
                        help='PNG to write, of the first video (default: '
                        'mask_sizes.png)')
    return parser.parse_args(arguments)


def plot(rows, path):
    """One row of frames a mask; all in the same colours."""
    most = max(row.mask.max().item() for row in rows)
    least = min(row.mask.min().item() for row in rows)
    figure = new_figure(1.5 * _SHOWN + 1.6, 1.25 * len(rows))
    axes = figure.subplots(len(rows), _SHOWN, squeeze=False)
    for line, row in zip(axes, rows):
        frames = min(_SHOWN, row.mask.shape[0])
        for axis in line:
            axis.axis('off')
        same_moments = line[(_SHOWN - frames) // 2:]
        for axis, frame in zip(same_moments, center_frames(row.mask, frames)):
            image = axis.imshow(frame, vmin=least, vmax=most, cmap='magma')
        t, h, w = row.clip
        line[0].set_title(f'{t} x {h} x {w}: r = {row.correlation:.2f}', fontsize=8,
                          loc='left')
    figure.colorbar(image, ax=axes, shrink=0.5)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(figure_png(figure))


def main(arguments=None):
    """The command."""
    args = parse_args(arguments)
    with one_line_errors():
        from cosam_mm.apis.action_recognizer import load_recognizer  # MMAction2
        model = load_recognizer(args.checkpoint, args.config)
        if args.lengths is None:
            trained = next(step['clip_len'] for step in
                           model.cfg.test_dataloader.dataset.pipeline
                           if step.get('clip_len'))
            args.lengths = [trained // 2, trained * 3 // 2, trained * 2]
        found = [compare_mask_sizes(model, video, args.lengths, args.scales)
                 for video in progress_bar(args.videos, 'masks', 'video')]
    for name in dict.fromkeys(row.module for row in found[0]):
        lines = [('clip (T x H x W)', 'mask', 'correlation', 'mean', 'min', 'max')]
        for same in zip(*found):
            if same[0].module == name:
                sizes = (same[0].clip, same[0].mask.shape)
                numbers = [mean(row.correlation for row in same),
                           *(mean(read(row.mask).item() for row in same)
                             for read in (Tensor.mean, Tensor.min, Tensor.max))]
                lines.append((*(' x '.join(map(str, size)) for size in sizes),
                              *(f'{number:.3f}' for number in numbers)))
        print(f'\n{name}, {len(found)} video(s)\n{text_table(lines, 0)}')
    plot(found[0], args.out)
    print(f'plot: {args.out}')


if __name__ == '__main__':
    main()

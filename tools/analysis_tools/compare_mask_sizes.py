"""COSAM's masks at other lengths and sizes.

``compare_mask_sizes.py CHECKPOINT VIDEO [VIDEO ...]``
"""
import argparse
from pathlib import Path
from statistics import mean

import matplotlib
from torch import Tensor

import cosam_mm  # noqa: F401
from cosam_mm.utils.cli import one_line_errors
from cosam_mm.utils.progress import progress_bar

matplotlib.use('Agg')
_SHOWN = 4  # frames of a mask in the picture


def parse_args():
    parser = argparse.ArgumentParser(
        description='Run the backbone of a 3-D recogniser with COSAM on videos, at the '
        'clip length and size that it was trained for and at others, and compare the '
        'spatial masks with those of the trained size. The figures are means over the '
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
                        help='picture to write, of the first video (default: '
                        'mask_sizes.png)')
    return parser.parse_args()


def clip_len(config):
    """Frames of a clip that a test pipeline samples."""
    steps = config.test_dataloader.dataset.pipeline
    found = [step['clip_len'] for step in steps if step.get('clip_len')]
    return found[0] if found else None


def draw(rows, path):
    """One row of frames a mask; all in the same colours."""
    from matplotlib import pyplot as plt

    from projects.attention_study.mask_sizes import center_frames
    most = max(row.mask.max().item() for row in rows)
    least = min(row.mask.min().item() for row in rows)
    figure, axes = plt.subplots(
        len(rows), _SHOWN, figsize=(1.5 * _SHOWN + 1.6, 1.25 * len(rows)),
        squeeze=False, layout='constrained')
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
    figure.savefig(path, dpi=80)
    plt.close(figure)


def main():
    args = parse_args()
    with one_line_errors():
        from cosam_mm.apis.action_recognizer import load_recognizer
        from projects.attention_study.mask_sizes import compare_mask_sizes
        model = load_recognizer(args.checkpoint, args.config)
        trained = clip_len(model.cfg)
        if args.lengths is None:
            args.lengths = [trained // 2, trained * 3 // 2, trained * 2]
        found = [compare_mask_sizes(model, video, args.lengths, args.scales)
                 for video in progress_bar(args.videos, 'masks', 'video')]
    module = None
    for same in zip(*found):
        if same[0].module != module:
            module = same[0].module
            print(f'\n{module}, {len(found)} video(s)')
            print(f'{"clip (T x H x W)":>18} {"mask":>11} {"correlation":>12} '
                  f'{"mean":>7} {"min":>7} {"max":>7}')
        clip, size = (' x '.join(map(str, s))
                      for s in (same[0].clip, same[0].mask.shape))
        figures = [mean(row.correlation for row in same)] + [
            mean(read(row.mask).item() for row in same)
            for read in (Tensor.mean, Tensor.min, Tensor.max)]
        print(f'{clip:>18} {size:>11} {figures[0]:12.3f} '
              + ' '.join(f'{figure:7.3f}' for figure in figures[1:]))
    draw(found[0], args.out)
    print(f'picture: {args.out}')


if __name__ == '__main__':
    main()

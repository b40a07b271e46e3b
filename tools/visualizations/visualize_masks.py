"""Show what a model's COSAMs attend to in your own videos and tracklets.

    python tools/visualizations/visualize_masks.py CONFIG CHECKPOINT walk.mp4 frames/

writes for every input, into --out:

    <input>_masks.png      the frames, and every layer's spatial masks over them
    <input>_masks.mp4      the same as a video (with --format also, or only, a GIF)
    <input>_channels.png   the channel masks, sorted, the most agreed channels named

Frames keep their aspect; what the network does not see of them is dark grey. With
--before the same is shown with the weights that training began with.
"""
from pathlib import Path

from mmengine.config import Config

import cosam_mm  # noqa: F401
from cosam_mm.utils.cli import (
    CommandParser,
    add_no_verify,
    one_line_errors,
    positive_int,
)
from cosam_mm.utils.io import check_destination
from cosam_mm.utils.progress import progress_bar
from cosam_mm.visualization.mask_files import FORMATS, output_names, write_masks
from cosam_mm.visualization.mask_overlay import RANGES


def parse_args():
    parser = CommandParser(description=__doc__)
    parser.add_argument('config', help='config file of a model with COSAM')
    parser.add_argument('checkpoint', help='checkpoint of the model; none: its weights '
                        'before training')
    parser.add_argument('inputs', nargs='+', metavar='INPUT',
                        help='video files or folders of images; for re-identification '
                        'folders of images, one a tracklet')
    parser.add_argument('--out', default='masks',
                        help='folder to write to (default: masks)')
    parser.add_argument('--format', choices=FORMATS, default='mp4',
                        help='kind of the video (default: mp4)')
    parser.add_argument('--before', action='store_true',
                        help='show the masks before training beside: those of the '
                        'weights that a training with the same seed begins with')
    parser.add_argument('--seed', type=int, metavar='N',
                        help='of the weights before training (default: that of the '
                        'checkpoint)')
    parser.add_argument('--layers', nargs='+', metavar='WORD',
                        help='show only COSAMs with one of these words in their names, '
                        'as layer4 (default: all)')
    parser.add_argument('--range', choices=RANGES, default='common',
                        help='common: one range of colours for all masks; layer: one '
                        'for each layer (default: common)')
    parser.add_argument('--num-frames', type=positive_int, default=8, metavar='N',
                        help='frames in the image (default: 8)')
    parser.add_argument('--max-frames', type=positive_int, default=64, metavar='N',
                        help='frames of a tracklet, or of a video whose frames are '
                        'single images to the model, to look at (default: 64)')
    parser.add_argument('--fps', type=float, metavar='F',
                        help="frames a second of the video (default: the input's, at "
                        'most 10)')
    parser.add_argument('--alpha', type=float, default=0.6, metavar='A',
                        help='share of the colours over the frames, from 0 to 1 '
                        '(default: 0.6)')
    parser.add_argument('--device',
                        help='where to compute (default: the GPU, if there is one)')
    add_no_verify(parser)
    args = parser.parse_args()
    if not Path(args.config).is_file():
        parser.error(f'there is no config {args.config}')
    return args


def main():
    args = parse_args()
    with one_line_errors():
        from cosam_mm.visualization.mask_recorder import make_recorder
        check_destination(Path(args.out, 'masks'), overwrite=True)
        checkpoint = None if args.checkpoint == 'none' else args.checkpoint
        recorder = make_recorder(Config.fromfile(args.config), checkpoint, args.before,
                                 args.device, args.seed, args.max_frames)
        names = output_names(args.inputs)
        written = []
        for path, name in zip(progress_bar(args.inputs, 'masks', 'input'), names):
            written += write_masks(
                recorder.record(path), Path(args.out), name, args.format,
                wanted=args.layers, columns=args.num_frames, fps=args.fps,
                ranges=args.range, alpha=args.alpha)
    for path in written:
        print(path)


if __name__ == '__main__':
    main()

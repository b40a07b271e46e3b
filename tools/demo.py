"""Name the action in a video file.

Examples:
    python tools/demo.py work_dirs/resnet/best_acc_top1_epoch_30.pth walk.mp4
    python tools/demo.py configs/resnext101_cosam_bert_hmdb51.py walk.mp4
"""

from cosam_mm import ActionRecognizer
from cosam_mm.apis.action_pipeline import VIEWS
from cosam_mm.apis.model_loading import find_trained
from cosam_mm.utils.cli import (
    CommandParser,
    add_no_verify,
    existing_file,
    one_line_errors,
    positive_float,
    positive_int,
)


def parse_args():
    parser = CommandParser(description=__doc__)
    parser.add_argument(
        'model', metavar='CHECKPOINT_OR_CONFIG', type=existing_file('file'),
        help='checkpoint, which holds its config; or config file, whose newest best '
        'checkpoint below its work dir is taken')
    parser.add_argument('video', nargs='+', help='video files, or folders of images')
    parser.add_argument('--checkpoint', help='checkpoint to go with a config file')
    parser.add_argument('--topk', type=positive_int, default=5,
                        help='classes to print (default: 5)')
    parser.add_argument('--views', choices=VIEWS, default='test',
                        help='test: the views of the test pipeline, as ten crops; '
                        'center: one centre crop, which is faster (default: test)')
    parser.add_argument(
        '--fast', action='store_true',
        help='compute faster and less exactly, see tools/test.py; worth it for several '
        'videos, since the first one is computed both ways')
    parser.add_argument('--device',
                        help='where to compute (default: the GPU, if there is one)')
    parser.add_argument(
        '--time-limit', type=positive_float, default=60, metavar='SECONDS',
        help='give a video up when no data came for so long, as on a disk that hangs '
        '(default: 60); how long a video is does not matter')
    add_no_verify(parser)
    args = parser.parse_args()
    if args.checkpoint and not args.model.endswith('.py'):
        parser.error(f'--checkpoint goes with a config file, not with {args.model}')
    return args


def main():
    args = parse_args()
    with one_line_errors():
        checkpoint, config = find_trained(args.model, args.checkpoint)
        if config is not None:
            print(f'checkpoint {checkpoint}')
        recognizer = ActionRecognizer(checkpoint, config, args.device,
                                      fast=args.fast, time_limit=args.time_limit)
        for video in args.video:
            print(video)
            found = recognizer.predict(video, args.topk, args.views)
            for _, name, probability in found.classes:
                print(f'  {probability:7.2%}  {name}')


if __name__ == '__main__':
    main()

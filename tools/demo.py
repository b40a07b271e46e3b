"""Name the action in a video file, or in each part of a long one.

Examples:
    python tools/demo.py work_dirs/resnet/best_acc_top1_epoch_30.pth walk.mp4
    python tools/demo.py configs/resnext101_cosam_bert_hmdb51.py walk.mp4
    python tools/demo.py model.pth match.mp4 --every 2 --out match.srt
    python tools/demo.py model.pth rtsp://camera/stream --every 2 --out events.csv
"""
import math
import signal
import sys
from pathlib import Path

import cosam_mm
from cosam_mm.apis.action_pipeline import VIEWS
from cosam_mm.apis.action_windows import (
    EVENT_FILES,
    clock,
    join_events,
    write_events,
)
from cosam_mm.apis.model_loading import find_trained
from cosam_mm.datasets.frame_stream import FilmFrames, LiveFrames, is_live
from cosam_mm.utils.cli import (
    CommandParser,
    add_no_verify,
    existing_file,
    is_user_mistake,
    one_line_errors,
    positive_float,
    positive_int,
)
from cosam_mm.utils.io import check_destination
from cosam_mm.utils.progress import progress_bar
from cosam_mm.visualization.action_overlay import write_action_overlay


def parse_args():
    parser = CommandParser(description=__doc__)
    parser.add_argument(
        'model', metavar='CHECKPOINT_OR_CONFIG', type=existing_file('file'),
        help='checkpoint, which holds its config; or config file, whose newest best '
        'checkpoint below its work dir is taken')
    parser.add_argument(
        'video', nargs='+', help='video files, or folders of images; with --every also '
        'the number of a camera, as 0, or an address, as rtsp://...')
    parser.add_argument('--checkpoint', help='checkpoint to go with a config file')
    parser.add_argument('--topk', type=positive_int, default=5,
                        help='classes to print (default: 5)')
    parser.add_argument('--views', choices=VIEWS,
                        help='test: the views of the test pipeline, as ten crops; '
                        'center: one centre crop, which is faster (default: test; '
                        'with --every center)')
    parser.add_argument('--every', type=positive_float, metavar='SECONDS',
                        help='name the action in windows that begin every so often')
    parser.add_argument('--window', type=positive_float, metavar='SECONDS',
                        help='length of a window (default: that of --every)')
    parser.add_argument('--smooth', type=positive_int, default=1, metavar='K',
                        help='average the scores of K windows, an odd number: as many '
                        'before as after (default: 1)')
    parser.add_argument('--out', metavar='FILE', type=Path,
                        help='.csv or .srt file of events, which are neighbouring '
                        'windows with the same class in front')
    parser.add_argument('--overlay', metavar='FILE.mp4', type=Path,
                        help='the film with the events written into it, without sound')
    parser.add_argument('--overwrite', action='store_true', help='replace files')
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
    if args.every is None:
        for name in ('window', 'out', 'overlay'):
            if getattr(args, name) is not None:
                parser.error(f'--{name} goes with --every')
    if (args.out or args.overlay) and len(args.video) > 1:
        parser.error('--out and --overlay take one video')
    if args.out and args.out.suffix.lower() not in EVENT_FILES:
        parser.error(f'--out {args.out} must end in {" or ".join(EVENT_FILES)}')
    if args.overlay and is_live(args.video[0]):
        parser.error('--overlay takes a file: record the stream first')
    return args


def print_classes(recognizer, video, args):
    """The classes of a video, and how much of it the model saw."""
    found = recognizer.predict(video, args.topk, args.views or 'test')
    for _, name, probability in found.classes:
        print(f'  {probability:7.2%}  {name}')
    if 2 * found.num_frames_seen < found.num_frames:
        print(f'  The model looked at {found.num_frames_seen:,} of '
              f'{found.num_frames:,} frames; --every SECONDS names each part.')


def print_windows(recognizer, video, args):
    """The class of each window as it comes; then the files."""
    window, total = args.window or args.every, None
    if is_live(video):
        frames = LiveFrames(video, window, args.time_limit)
        signal.signal(signal.SIGINT, lambda *_: frames.stop())
    else:
        frames = FilmFrames(video, args.time_limit)
        total = math.ceil(frames.duration / args.every) or None
    windows = recognizer.predict_windows(frames, window, args.every, args.smooth, 1,
                                         args.views or 'center')

    def printed():
        for one in (bar := progress_bar(windows, 'windows', 'window', total)):
            ((_, name, probability),) = one.prediction.classes
            bar.write(f'  {clock(one.start)}  {clock(one.end)}  {probability:7.2%}  '
                      f'{name}')
            sys.stdout.flush()
            yield one

    events = list(join_events(printed()))
    if is_live(video):
        print(f'The stream is over. {frames.num_dropped:,} frames were dropped.')
    if args.out:
        write_events(args.out, events)
        print(f'{args.out}: {len(events)} events')
    if args.overlay:
        write_action_overlay(args.overlay, frames, events)
        print(args.overlay)


def check_files(args):
    """Look for what would stop the files, before hours of work."""
    for path in filter(None, (args.out, args.overlay)):
        check_destination(path, args.overwrite)
        if path.resolve() == Path(args.video[0]).resolve():
            raise ValueError(f'{path} is the video itself: name another file.')


def main():
    args = parse_args()
    with one_line_errors():
        check_files(args)
        checkpoint, config = find_trained(args.model, args.checkpoint)
        if config is not None:
            print(f'checkpoint {checkpoint}')
        recognizer = cosam_mm.ActionRecognizer(
            checkpoint, config, args.device, fast=args.fast,
            time_limit=args.time_limit)
        show, num_failed = print_windows if args.every else print_classes, 0
        for video in args.video:
            print(video)
            try:
                show(recognizer, video, args)
            except (FileNotFoundError, ValueError) as error:
                if len(args.video) == 1 or not is_user_mistake(error):
                    raise
                print(f'error: {error}', file=sys.stderr)
                num_failed += 1
    if num_failed:
        print(f'error: {num_failed} of {len(args.video)} videos have no answer',
              file=sys.stderr)
        sys.exit(1)


if __name__ == '__main__':
    main()

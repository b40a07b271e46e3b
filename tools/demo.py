"""Name the action in a video file.

Examples:
    python tools/demo.py work_dirs/resnet/best_acc_top1_epoch_30.pth walk.mp4
    python tools/demo.py configs/resnext101_cosam_bert_hmdb51.py walk.mp4
"""
import argparse
from pathlib import Path

import torch
from mmengine.config import Config

import cosam_mm  # noqa: F401
from cosam_mm.engine.config import default_work_dir
from cosam_mm.engine.inference import classify, find_checkpoint, load_recognizer
from cosam_mm.engine.user_errors import one_line_errors


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        'model', metavar='CHECKPOINT_OR_CONFIG',
        help='checkpoint, which holds its config; or config file, whose newest best '
        'checkpoint below its work dir is taken')
    parser.add_argument('video', nargs='+', help='video files')
    parser.add_argument('--checkpoint', help='checkpoint to go with a config file')
    parser.add_argument('--topk', type=int, default=5,
                        help='classes to print (default: 5)')
    parser.add_argument('--device',
                        default='cuda' if torch.cuda.is_available() else 'cpu',
                        help='where to compute (default: the GPU, if there is one)')
    args = parser.parse_args()
    if not Path(args.model).is_file():
        parser.error(f'there is no file {args.model}')
    if args.checkpoint and not args.model.endswith('.py'):
        parser.error(f'--checkpoint goes with a config file, not with {args.model}')
    return args


def main():
    args = parse_args()
    with one_line_errors():
        config, checkpoint = None, args.model
        if args.model.endswith('.py'):
            config = Config.fromfile(args.model)
            checkpoint = args.checkpoint or find_checkpoint(
                default_work_dir(config, args.model))
            print(f'checkpoint {checkpoint}')
        model = load_recognizer(str(checkpoint), config, args.device)
        for video in args.video:
            print(video)
            for name, probability in classify(model, video, args.topk):
                print(f'  {probability:7.2%}  {name}')


if __name__ == '__main__':
    main()

"""Train a model: ``python tools/train.py CONFIG``."""
import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from mmengine.config import Config, DictAction
from mmengine.logging import print_log

import cosam_mm  # noqa: F401
from cosam_mm.engine.runner.distributed import (
    connect_cpu_processes,
    disconnect_cpu_processes,
)
from cosam_mm.engine.runner.process_watchdog import end_with_launcher, leave_when_lost
from cosam_mm.engine.runner.stop_signals import TrainingStopped
from cosam_mm.engine.runner.strategies import (
    build_runner,
    fit_to_strategy,
    loading_safely,
    use_strategy,
)
from cosam_mm.utils.cli import (
    CommandParser,
    add_no_verify,
    existing_file,
    non_negative_int,
    one_line_errors,
    positive_float,
    positive_int,
)
from cosam_mm.utils.config import (
    check_checkpoint,
    check_classes,
    default_work_dir,
    set_data_root,
    set_split,
    set_time_limit,
)
from cosam_mm.utils.config_options import merge_options
from cosam_mm.utils.training_settings import (
    check_schedule,
    fit_workers,
    freeze_stages,
    resume_training,
    scale_learning_rate,
    set_batch_size,
    set_epochs,
    set_frames,
    set_learning_rate,
    set_num_classes,
    set_randomness,
    set_workers,
    skip_validation,
    use_amp,
)

# Option -> the setting that it stands for, in this order.
SETTINGS = {
    'num_classes': set_num_classes, 'frames': set_frames, 'batch_size': set_batch_size,
    'workers': set_workers, 'epochs': set_epochs, 'lr': set_learning_rate,
    'freeze': freeze_stages}


def parse_args(argv: Optional[Sequence[str]] = None):
    parser = CommandParser(description='Train a model.')
    parser.add_argument('config', help='config file', type=existing_file('config'))
    parser.add_argument(
        '--work-dir',
        help='folder for logs and checkpoints (default: work_dirs/<config>, with '
        '--split work_dirs/<config>/split<k>)')
    parser.add_argument('--split', type=int, metavar='K',
                        help='number of the official split of the data set (default: '
                        "the config's)")
    parser.add_argument('--data-root',
                        help="folder that tools/prepare_data.py wrote to (default: "
                        "the config's)")
    parser.add_argument(
        '--resume', nargs='?', const='auto', metavar='CHECKPOINT',
        help='continue from CHECKPOINT, or from the newest whole one in the work dir')
    add_no_verify(parser)
    parser.add_argument(
        '--from', dest='load_from', metavar='CHECKPOINT',
        help='weights to begin with, as far as names and shapes fit; the log says '
        'what was taken')
    add_settings(parser)
    parser.add_argument(
        '--time-limit', type=positive_float, metavar='SECONDS',
        help='give up reading a video or image when no data came for so long, as on a '
        'disk that hangs (default: 60); how long a video is does not matter')
    parser.add_argument('--amp', action='store_true',
                        help='train in automatic mixed precision')
    parser.add_argument('--no-validate', action='store_true',
                        help='do not validate during training')
    parser.add_argument(
        '--auto-scale-lr', action='store_true',
        help='scale the learning rate by the batch size over all processes')
    parser.add_argument('--seed', type=int, help='seed of all random numbers')
    parser.add_argument('--diff-rank-seed', action='store_true',
                        help='give each process a seed of its own')
    parser.add_argument('--deterministic', action='store_true',
                        help='use deterministic algorithms on the GPU')
    parser.add_argument(
        '--strategy', metavar='CONFIG', type=existing_file('strategy'),
        help='spread the model over the processes as a strategy of mmengine does: '
        'configs/_base_/strategies/fsdp.py or deepspeed.py')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE',
        help='settings of the config to override, e.g. '
        'train_cfg.max_epochs=50 train_dataloader.batch_size=4; lists as '
        'key="[a,b]" or key=a,b')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'],
                        default='none', help='how processes were started')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0,
                        help='set by the launcher')
    args = parser.parse_args(argv)
    for start in (args.resume, args.load_from):
        if (start not in (None, 'auto') and '://' not in start
                and not Path(start).is_file()):
            parser.error(f'there is no checkpoint {start}')
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add the options that stand for settings of a config."""
    group = parser.add_argument_group(
        'settings', "each is said once and reaches every place (default: the config's)")
    group.add_argument('--epochs', type=positive_int, metavar='N',
                       help='length of the training; the schedule stretches with it')
    group.add_argument('--lr', type=positive_float, metavar='RATE',
                       help='learning rate; peaks of the schedule move with it')
    group.add_argument('--batch-size', type=positive_int, metavar='N',
                       help='clips or tracklets of a batch, of one process')
    group.add_argument('--workers', type=non_negative_int, metavar='N',
                       help='processes that read data; 0 reads in the main process')
    group.add_argument('--freeze', type=int, metavar='STAGE',
                       help='train nothing of the backbone up to this stage; 0 is the '
                       'stem')
    group.add_argument('--num-classes', type=positive_int, metavar='N',
                       help='of the classifier and of every data set')
    group.add_argument('--frames', type=positive_int, metavar='N',
                       help='frames of a clip, for pipelines and model')


def merge_args(cfg: Config, args: argparse.Namespace) -> Config:
    """The config with what the command line says."""
    cfg.launcher = args.launcher
    cfg.work_dir = args.work_dir or default_work_dir(cfg, args.config, args.split)
    if args.split is not None:
        set_split(cfg, args.split)
    if args.data_root is not None:
        set_data_root(cfg, args.data_root)
    if args.time_limit is not None:
        set_time_limit(cfg, args.time_limit)
    if args.amp:
        use_amp(cfg)
    set_randomness(cfg, seed=args.seed, diff_rank_seed=args.diff_rank_seed,
                   deterministic=args.deterministic)
    if args.strategy is not None:
        use_strategy(cfg, args.strategy)
    if args.load_from is not None:
        cfg.load_from = args.load_from
    options = dict(args.cfg_options or {})
    args.epochs = options.pop('train_cfg.max_epochs', args.epochs)
    for name, change in SETTINGS.items():
        if getattr(args, name) is not None:
            change(cfg, getattr(args, name))
    merge_options(cfg, options)
    fit_workers(cfg)
    if problem := check_schedule(cfg):
        print_log(problem, logger='current', level=logging.WARNING)
    # After the options, which may speak of what these look at.
    check_checkpoint(cfg)
    if args.resume is not None:
        resume_training(cfg, None if args.resume == 'auto' else args.resume)
    if args.auto_scale_lr:
        scale_learning_rate(cfg)
    if args.no_validate:
        skip_validation(cfg)
    check_classes(cfg, 'train', 'val')
    fit_to_strategy(cfg)
    connect_cpu_processes(cfg)
    return cfg


def main(argv: Optional[Sequence[str]] = None):
    args = parse_args(argv)
    end_with_launcher()
    with one_line_errors(), leave_when_lost():
        cfg = merge_args(Config.fromfile(args.config), args)
        status = 0
        try:
            with loading_safely(cfg):
                build_runner(cfg).train()
        except TrainingStopped as stopped:  # asked to, and with a checkpoint
            status = stopped.code
        disconnect_cpu_processes()
    sys.exit(status)


if __name__ == '__main__':
    main()

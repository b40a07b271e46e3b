"""Test a checkpoint: ``python tools/test.py CONFIG CHECKPOINT``."""
import argparse
import copy
import json
import os
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from mmengine.config import Config, DictAction
from mmengine.dist import is_main_process

import cosam_mm  # noqa: F401
from cosam_mm.apis.action_pipeline import VIEWS, use_center_view
from cosam_mm.apis.inference_optimization import use_fast_inference
from cosam_mm.apis.model_loading import find_checkpoint
from cosam_mm.engine.runner.distributed import (
    connect_cpu_processes,
    disconnect_cpu_processes,
)
from cosam_mm.engine.runner.process_watchdog import end_with_launcher, leave_when_lost
from cosam_mm.engine.runner.strategies import build_runner, loading_safely
from cosam_mm.utils.cli import (
    CommandParser,
    add_no_verify,
    existing_file,
    one_line_errors,
    positive_float,
)
from cosam_mm.utils.config import (
    check_checkpoint,
    check_classes,
    default_work_dir,
    dump_scores,
    set_data_root,
    set_reid_metric,
    set_split,
    set_time_limit,
    split_numbers,
    split_of_test,
    swap_test_data,
)
from cosam_mm.utils.config_options import merge_options
from cosam_mm.utils.io import write_text
from cosam_mm.utils.training_settings import fit_workers


def parse_args(argv: Optional[Sequence[str]] = None):
    parser = CommandParser(
        description='Test a checkpoint, or one for each split of a data set.')
    parser.add_argument('config', help='config file', type=existing_file('config'))
    parser.add_argument(
        'checkpoint', nargs='*',
        help='checkpoint file (default: the best one of the validations in the work '
        'dir, else the newest); with --all-splits one for each split in their order, '
        'or one path with {split} in it, such as '
        "'work_dirs/x/split{split}/epoch_200.pth'")
    parser.add_argument(
        '--work-dir',
        help='folder for logs and results (default: as in training)')
    which = parser.add_mutually_exclusive_group()
    which.add_argument('--split', type=int, metavar='K',
                       help='number of the official split of the data set (default: '
                       "the config's)")
    which.add_argument('--all-splits', action='store_true',
                       help='test a checkpoint of each split and print their mean')
    parser.add_argument('--data-root',
                        help="folder that tools/prepare_data.py wrote to (default: "
                        "the config's)")
    parser.add_argument(
        '--time-limit', type=positive_float, metavar='SECONDS',
        help='give up reading a video or image when no data came for so long, as on a '
        'disk that hangs (default: 60); how long a video is does not matter')
    parser.add_argument(
        '--dump', metavar='FILE.npz',
        help='write the scores of every video, for tools/fuse_scores.py, or the '
        'features of every tracklet; {split} in the name becomes the split')
    parser.add_argument(
        '--fast', action='store_true',
        help='fold batch norms into convolutions and compute channels last, in '
        'bfloat16 where the device is made for it; the log says how far the results '
        'of the first batch are from the exact ones')
    parser.add_argument('--views', choices=VIEWS, default='test',
                        help='of clips. test: those of the test pipeline, as ten '
                        'crops; center: one centre crop, which is that much faster '
                        '(default: test)')
    reid = parser.add_argument_group('person re-identification')
    reid.add_argument('--rerank', action='store_const', const=True,
                      help='evaluate k-reciprocal re-ranking, too')
    reid.add_argument('--attributes', metavar='FILE.csv',
                      help='evaluate the queries that carry each attribute, too; '
                      'columns: pid, then one of 0 and 1 for each attribute')
    reid.add_argument('--cross-dataset', metavar='CONFIG', type=existing_file('config'),
                      help='test on the data of another config')
    parser.add_argument(
        '--force', action='store_true',
        help='test even on clips or persons that the checkpoint was trained on')
    add_no_verify(parser)
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE',
        help='settings of the config to override, e.g. test_dataloader.num_workers=2')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'],
                        default='none', help='how processes were started')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0,
                        help='set by the launcher')
    args = parser.parse_intermixed_args(argv)
    check_args(parser, args)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def check_args(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Leave with a message where arguments do not go together."""
    if args.dump and not args.dump.endswith('.npz'):
        parser.error(f'--dump writes an .npz file, got {args.dump}')
    if args.all_splits and args.dump and '{split}' not in args.dump:
        parser.error('--dump needs {split} in the file name with --all-splits')
    if not args.all_splits and len(args.checkpoint) > 1:
        parser.error('several checkpoints go with --all-splits')


def checkpoint_of_splits(cfg: Config, given: list[str]) -> dict[int, str]:
    """The checkpoint of each split, from what the command line names."""
    splits = split_numbers(cfg)
    if len(given) == 1 and '{split}' in given[0]:
        given = [given[0].replace('{split}', str(split)) for split in splits]
    if len(given) != len(splits):
        raise ValueError(f'--all-splits takes {len(splits)} checkpoints, or one path '
                         f'with {{split}} in it, got {len(given)}.')
    for checkpoint in given:
        check_file(checkpoint)
    return dict(zip(splits, given))


def check_file(checkpoint: str) -> None:
    """Raise ``FileNotFoundError`` if a local checkpoint does not exist."""
    if '://' not in checkpoint and not Path(checkpoint).is_file():
        raise FileNotFoundError(f'There is no checkpoint {checkpoint}.')


def merge_args(cfg: Config, args: argparse.Namespace, checkpoint: str, split,
               work_dir) -> Config:
    """The config with what the command line says, for one split."""
    cfg.launcher = args.launcher
    cfg.work_dir = str(work_dir)
    cfg.load_from = checkpoint
    cfg.resume = False
    if split is not None:
        set_split(cfg, split)
    if args.data_root is not None:
        set_data_root(cfg, args.data_root)
    if args.time_limit is not None:
        set_time_limit(cfg, args.time_limit)
    check_checkpoint(cfg, args.force)
    merge_options(cfg, args.cfg_options or {})
    fit_workers(cfg)
    if args.views == 'center':
        use_center_view(cfg)
    if args.fast:
        use_fast_inference(cfg)
    # After the options, which may be those of the re-ranking.
    set_reid_metric(cfg, rerank=args.rerank, attributes=args.attributes)
    if args.dump:
        dump_scores(cfg, name_dump(args.dump, cfg, split))
    check_classes(cfg, 'test')
    connect_cpu_processes(cfg)
    return cfg


def name_dump(dump: str, cfg: Config, split: Optional[int]) -> str:
    """The file to dump to: ``{split}`` becomes the split that is tested."""
    split = split_of_test(cfg) if split is None else split
    if split is None and '{split}' in dump:
        raise ValueError(f'--dump {dump}: the test data of this config has no split. '
                         'Name the file without {split}.')
    return dump.replace('{split}', str(split))


def run(cfg: Config) -> dict:
    """Test once; the metrics by name."""
    with loading_safely(cfg):
        return build_runner(cfg, keeps_config=True).test()


def run_all_splits(cfg: Config, args: argparse.Namespace) -> None:
    """Test every split; print the mean and keep it in the work dir."""
    base = Path(args.work_dir or default_work_dir(cfg, args.config))
    metrics = {}
    checkpoints = checkpoint_of_splits(cfg, args.checkpoint)
    for number, (split, checkpoint) in enumerate(checkpoints.items(), start=1):
        if is_main_process():
            print(f'split {split}, {number} of {len(checkpoints)}: {checkpoint}')
        one = merge_args(copy.deepcopy(cfg), args, checkpoint, split,
                         base / f'split{split}')
        # mmengine keeps one log for each name.
        one.experiment_name = f'{Path(args.config).stem}_split{split}'
        metrics[split] = run(one)
    if is_main_process():
        summarize(metrics, base / 'all_splits.json')


def summarize(metrics: dict[int, dict], out_file: Path) -> None:
    """Print the splits and their mean, and keep them in a file.

    Args:
        metrics: Metrics by name, for each split. ``acc/num_unreadable`` is missing
            where all clips could be read: it is 0 then. Texts, such as the protocol
            and what made the metrics, have no mean.
        out_file: A JSON file; its folder is made if need be.
    """
    names, texts = {}, {}
    for one in metrics.values():
        for name, value in one.items():
            (texts if isinstance(value, str) else names)[name] = None
    rows = {name: [float(one.get(name, 0)) for one in metrics.values()]
            for name in names}
    width = max(20, *(len(name) + 2 for name in names))
    print(' ' * width + ''.join(f'split {k:<6}' for k in metrics) + 'mean')
    for name, values in rows.items():
        print(f'{name:{width}}' + ''.join(f'{v:<12.4f}' for v in values) +
              f'{statistics.mean(values):.4f}')
    write_text(out_file, json.dumps(
        {**{name: dict(splits=values, mean=statistics.mean(values))
            for name, values in rows.items()},
         **{name: dict(splits=[one.get(name, '') for one in metrics.values()])
            for name in texts}}, indent=2) + '\n')
    print(f'written to {out_file}')


def main(argv: Optional[Sequence[str]] = None):
    args = parse_args(argv)
    end_with_launcher()
    with one_line_errors(), leave_when_lost():
        cfg = Config.fromfile(args.config)
        if args.cross_dataset is not None:
            swap_test_data(cfg, Config.fromfile(args.cross_dataset))
        if args.all_splits:
            run_all_splits(cfg, args)
        else:
            work_dir = default_work_dir(cfg, args.config, args.split)
            if not args.checkpoint:
                args.checkpoint = [str(find_checkpoint(work_dir))]
                print(f'checkpoint {args.checkpoint[0]}')
            check_file(args.checkpoint[0])
            run(merge_args(cfg, args, args.checkpoint[0], args.split,
                           args.work_dir or work_dir))
        disconnect_cpu_processes()


if __name__ == '__main__':
    main()

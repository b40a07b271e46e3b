"""Test a checkpoint: ``python tools/test.py CONFIG CHECKPOINT``."""
import argparse
import copy
import json
import os
import statistics
from pathlib import Path

from mmengine.config import Config, DictAction
from mmengine.dist import is_main_process
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

import cosam_mm  # noqa: F401
from cosam_mm.engine.config import (
    default_work_dir,
    dump_scores,
    force_test,
    set_data_root,
    set_split,
)
from cosam_mm.engine.processes import connect_cpu_processes
from cosam_mm.engine.user_errors import one_line_errors

SPLITS = (1, 2, 3)


def parse_args():
    parser = argparse.ArgumentParser(
        description='Test a checkpoint, or three checkpoints on their splits.')
    parser.add_argument('config', help='config file')
    parser.add_argument(
        'checkpoint', nargs='+',
        help='checkpoint file; with --all-splits three of them in the order of the '
        'splits, or one path with {split} in it, such as '
        "'work_dirs/x/split{split}/epoch_200.pth'")
    parser.add_argument(
        '--work-dir',
        help='folder for logs and results (default: as in training)')
    which = parser.add_mutually_exclusive_group()
    which.add_argument('--split', type=int, choices=SPLITS,
                       help="official split of the data set (default: the config's)")
    which.add_argument('--all-splits', action='store_true',
                       help='test three checkpoints and print the mean of the splits')
    parser.add_argument('--data-root',
                        help="folder that tools/prepare_data.py wrote to (default: "
                        "the config's)")
    parser.add_argument(
        '--dump', metavar='FILE.npz',
        help='write the scores of every video, for tools/fuse_scores.py; with '
        '--all-splits {split} in the name becomes the split')
    parser.add_argument(
        '--force', action='store_true',
        help='test even if the checkpoint was trained on another split of the data '
        'set, whose training videos are among the test videos of this one')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE',
        help='settings of the config to override, e.g. test_dataloader.num_workers=2')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'],
                        default='none', help='how processes were started')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0,
                        help='set by the launcher')
    args = parser.parse_args()
    if not Path(args.config).is_file():
        parser.error(f'there is no config {args.config}')
    if args.dump and not args.dump.endswith('.npz'):
        parser.error(f'--dump writes an .npz file, got {args.dump}')
    if args.all_splits:
        if args.dump and '{split}' not in args.dump:
            parser.error('--dump needs {split} in the file name with --all-splits')
        if len(args.checkpoint) == 1 and '{split}' in args.checkpoint[0]:
            args.checkpoint = [args.checkpoint[0].replace('{split}', str(k))
                               for k in SPLITS]
        if len(args.checkpoint) != len(SPLITS):
            parser.error('--all-splits takes three checkpoints, or one path with '
                         f'{{split}} in it, got {len(args.checkpoint)}')
    elif len(args.checkpoint) != 1:
        parser.error('several checkpoints go with --all-splits')
    for checkpoint in args.checkpoint:
        if '://' not in checkpoint and not Path(checkpoint).is_file():
            parser.error(f'there is no checkpoint {checkpoint}')
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


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
    if args.force:
        force_test(cfg)
    if args.cfg_options is not None:
        cfg.merge_from_dict(args.cfg_options)
    if args.dump:
        dump_scores(cfg, args.dump.replace('{split}', str(split)))
    connect_cpu_processes(cfg)
    return cfg


def run(cfg: Config) -> dict:
    """Test once; the metrics by name."""
    runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
    return runner.test()


def run_all_splits(cfg: Config, args: argparse.Namespace) -> None:
    """Test every split; print the mean and keep it in the work dir."""
    base = Path(args.work_dir or default_work_dir(cfg, args.config))
    metrics = []
    for split, checkpoint in zip(SPLITS, args.checkpoint):
        one = merge_args(copy.deepcopy(cfg), args, checkpoint, split,
                         base / f'split{split}')
        # mmengine keeps one log for each name.
        one.experiment_name = f'{Path(args.config).stem}_split{split}'
        metrics.append(run(one))
    if is_main_process():
        summarize(metrics, base / 'all_splits.json')


def summarize(metrics: list[dict], out_file: Path) -> None:
    """Print the splits and their mean, and keep them in a file.

    Args:
        metrics: Figures by name, for each split. ``acc/num_unreadable`` is there
            only where clips could not be read: it is 0 elsewhere.
        out_file: A JSON file; its folder is made if need be.
    """
    names = dict.fromkeys(name for figures in metrics for name in figures)
    rows = {name: [float(figures.get(name, 0)) for figures in metrics]
            for name in names}
    print(f'{"":20}' + ''.join(f'split {k:<6}' for k in SPLITS) + 'mean')
    for name, values in rows.items():
        print(f'{name:20}' + ''.join(f'{v:<12.4f}' for v in values) +
              f'{statistics.mean(values):.4f}')
    out_file.parent.mkdir(parents=True, exist_ok=True)
    out_file.write_text(json.dumps(
        {name: dict(splits=values, mean=statistics.mean(values))
         for name, values in rows.items()}, indent=2) + '\n', encoding='utf-8')
    print(f'written to {out_file}')


def main():
    args = parse_args()
    with one_line_errors():
        cfg = Config.fromfile(args.config)
        if args.all_splits:
            run_all_splits(cfg, args)
        else:
            work_dir = args.work_dir or default_work_dir(cfg, args.config, args.split)
            run(merge_args(cfg, args, args.checkpoint[0], args.split, work_dir))


if __name__ == '__main__':
    main()

"""Edits of a config that the command-line tools have in common.

Each function takes an mmengine ``Config`` and changes it in place.
"""
import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

import torch
from mmengine.config import Config, ConfigDict

__all__ = [
    'config_of_checkpoint', 'default_work_dir', 'force_test', 'input_shape',
    'set_data_root', 'set_split', 'use_amp', 'use_available_backend'
]

_LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def _datasets(cfg: Config) -> Iterator[ConfigDict]:
    for name in _LOADERS:
        loader = cfg.get(name)
        if loader is not None:
            yield loader.dataset


def set_split(cfg: Config, split: int) -> None:
    """Make training, validation and testing use an official split.

    Args:
        cfg: The config.
        split: 1, 2 or 3.

    Raises:
        ValueError: No data set of the config has splits.
    """
    with_splits = [dataset for dataset in _datasets(cfg) if 'split' in dataset]
    if not with_splits:
        raise ValueError('--split: no data set of this config has a setting '
                         'named split.')
    for dataset in with_splits:
        dataset.split = split


def set_data_root(cfg: Config, data_root: str) -> None:
    """Make every data set of the config look under ``data_root``."""
    for dataset in _datasets(cfg):
        dataset.data_root = str(data_root)


def force_test(cfg: Config) -> None:
    """Let the checkpoint guard warn about another split instead of refusing."""
    for hook in cfg.get('custom_hooks') or ():
        if hook.type == 'CheckpointGuardHook':
            hook.force = True


def default_work_dir(cfg: Config, config_file: str,
                     split: Optional[int] = None) -> str:
    """Where a run writes: the config's own choice, or ``work_dirs/<config>``.

    A split that was asked for gets a folder of its own below, so that the
    three runs of a data set stand side by side.
    """
    work_dir = Path(cfg.get('work_dir') or
                    Path('work_dirs') / Path(config_file).stem)
    return str(work_dir if split is None else work_dir / f'split{split}')


def input_shape(cfg: Config) -> tuple[int, int, int, int]:
    """(C, T, H, W) of one clip as the config's test pipeline makes it.

    Raises:
        ValueError: The pipeline does not sample frames and crop them.
    """
    pipeline = cfg.test_dataloader.dataset.pipeline
    clip_lens = [step.clip_len for step in pipeline if 'clip_len' in step]
    crops = [step.crop_size for step in pipeline if 'crop_size' in step]
    if not clip_lens or not crops:
        raise ValueError('The test pipeline of this config tells no clip_len and '
                         'crop_size: give --shape C T H W.')
    crop = crops[-1]
    width, height = (crop, crop) if isinstance(crop, int) else crop
    return cfg.model.backbone.get('in_channels', 3), clip_lens[-1], height, width


def use_amp(cfg: Config) -> None:
    """Train in automatic mixed precision.

    Raises:
        ValueError: The optimiser wrapper is one that AMP cannot replace.
    """
    kind = cfg.optim_wrapper.get('type', 'OptimWrapper')
    if kind not in ('OptimWrapper', 'AmpOptimWrapper'):
        raise ValueError('--amp works with optim_wrapper.type OptimWrapper, got '
                         f'{kind}.')
    cfg.optim_wrapper.type = 'AmpOptimWrapper'
    if torch.cuda.is_available():
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
    else:
        # CPUs compute in bfloat16, which needs no loss scaling.
        cfg.optim_wrapper.setdefault('dtype', 'bfloat16')


def use_available_backend(cfg: Config) -> None:
    """Let processes talk through gloo where there is no GPU for nccl."""
    if not torch.cuda.is_available() and 'env_cfg' in cfg:
        cfg.env_cfg.setdefault('dist_cfg', {})['backend'] = 'gloo'


def config_of_checkpoint(text: str) -> Config:
    """Read the config that mmengine wrote into a checkpoint.

    The text is Python, but it came with a file from somewhere: it is read as
    data, and nothing in it is executed.

    Args:
        text: ``checkpoint['meta']['cfg']``.

    Raises:
        ValueError: The text holds more than assignments of plain values.
    """
    values = {}
    for statement in ast.parse(text).body:
        if not (isinstance(statement, ast.Assign) and len(statement.targets) == 1
                and isinstance(statement.targets[0], ast.Name)):
            raise ValueError(
                "The checkpoint's config holds more than plain settings (line "
                f'{statement.lineno}). Give the config file instead.')
        values[statement.targets[0].id] = _plain_value(statement.value)
    return Config(values)


def _plain_value(node: ast.expr):
    """Value of a literal that may contain ``dict(key=value)`` calls."""
    if isinstance(node, ast.Call):
        if not (isinstance(node.func, ast.Name) and node.func.id == 'dict'
                and not node.args and all(k.arg for k in node.keywords)):
            raise ValueError(
                "The checkpoint's config holds a call that is not dict(...) "
                f'(line {node.lineno}). Give the config file instead.')
        return {k.arg: _plain_value(k.value) for k in node.keywords}
    if isinstance(node, ast.Dict):
        return {_plain_value(k): _plain_value(v)
                for k, v in zip(node.keys, node.values)}
    if isinstance(node, (ast.List, ast.Tuple)):
        kind = list if isinstance(node, ast.List) else tuple
        return kind(_plain_value(item) for item in node.elts)
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise ValueError(
            "The checkpoint's config holds something that is no plain value "
            f'(line {node.lineno}). Give the config file instead.') from None

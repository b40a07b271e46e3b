"""Edits of a config that the command-line tools have in common.

Each function takes an mmengine ``Config`` and changes it in place.
"""
import copy
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Optional

from mmengine.config import Config, ConfigDict

from .io import check_destination, read_text

__all__ = [
    'LOADERS', 'check_checkpoint', 'check_classes', 'check_names', 'default_work_dir',
    'dicts_of', 'dump_scores', 'hook_option', 'input_shape', 'set_data_root',
    'set_reid_metric', 'set_split', 'set_time_limit', 'split_numbers', 'split_of_test',
    'swap_test_data', 'type_name'
]

# Steps of pipelines that give up what hangs.
_TIME_LIMITED = ('SafeDecordInit', 'SafeRawFrameDecode', 'LoadTrackletFrames')
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def _datasets(cfg: Config) -> Iterator[ConfigDict]:
    """Data sets of all loaders, inside of what wraps or joins them."""
    for name in LOADERS:
        loader = cfg.get(name)
        if loader is not None:
            yield from _unwrap(loader.dataset)


def _unwrap(dataset: ConfigDict) -> Iterator[ConfigDict]:
    # "dataset" is also the name of a setting: only another config is wrapped.
    inner = [dataset[key] for key in ('dataset', 'query', 'gallery')
             if isinstance(dataset.get(key), dict)]
    inner += dataset.get('datasets') or []
    if not inner:
        yield dataset
    for one in inner:
        yield from _unwrap(one)


def split_numbers(cfg: Config) -> range:
    """Numbers of the official splits of the config's data set.

    Raises:
        ValueError: The config has no ``num_splits``: its data set has no splits.
    """
    if 'num_splits' not in cfg:
        raise ValueError('The data set of this config has no official splits '
                         '(the config sets no num_splits).')
    return range(1, cfg.num_splits + 1)


def set_split(cfg: Config, split: int) -> None:
    """Make training, validation and testing use an official split, counted from 1.

    Raises:
        ValueError: No data set of the config has splits, or not so many.
    """
    with_splits = [dataset for dataset in _datasets(cfg) if 'split' in dataset]
    if not with_splits:
        raise ValueError('--split: no data set of this config has a setting '
                         'named split.')
    if 'num_splits' in cfg and split not in split_numbers(cfg):
        raise ValueError(f'--split must be from 1 to {cfg.num_splits}, got {split}.')
    for dataset in with_splits:
        dataset.split = split


def split_of_test(cfg: Config) -> Optional[int]:
    """Number of the official split that a config tests on; None where it has none."""
    return next((dataset.split for dataset in _unwrap(cfg.test_dataloader.dataset)
                 if dataset.get('split') is not None), None)


def check_classes(cfg: Config, *modes: str) -> None:
    """Compare the class counts of all that a training or a test is made of.

    Args:
        cfg: Its model, blending of batches, data sets, lists of classes and metrics.
        modes: 'train', 'val', 'test': whose loaders and evaluators.

    Raises:
        ValueError: They disagree; several labels are asked for (``multi_class``), which
            no data set and metric here has; or accuracies of more classes than exist.
    """
    names = [f'{mode}_{part}' for mode in modes for part in ('dataloader', 'evaluator')]
    places = [place for name in ('model', *names)
              for place in dicts_of(cfg.get(name), name)]
    counts = {}
    for path, node in places:
        if node.get('multi_class'):
            raise ValueError(f'{path}.multi_class: several labels of a clip are not '
                             'supported. Give each clip one label.')
        counts.update(_class_counts(path, node))
    if len(set(counts.values())) > 1:
        raise ValueError('The numbers of classes disagree: ' + ', '.join(
            f'{path}={count}' for path, count in counts.items())
            + '. Set them alike: --num-classes N of tools/train.py does.')
    for path, node in places:
        topk = max(_as_list(node.get('topk') or 0)) if 'evaluator' in path else 0
        if counts and topk > max(counts.values()):
            raise ValueError(f'{path}.topk asks for the best {topk} of '
                             f'{max(counts.values())} classes.')


def _class_counts(path: str, node: dict) -> Iterator[tuple[str, int]]:
    """The numbers of classes that one setting says, with its place."""
    if isinstance(node.get('num_classes'), int) and '.backbone' not in path:
        yield f'{path}.num_classes', node['num_classes']
        file = Path(str(node.get('data_root')), f'{node.get("name")}_classes.txt')
        if file.is_file():
            text = read_text(file, errors='replace')
            yield str(file), len(text.strip().split('\n'))
    classes = (node.get('metainfo') or {}).get('classes')
    if isinstance(classes, (list, tuple)):
        yield f'{path}.metainfo.classes', len(classes)


def dicts_of(node, path: str) -> Iterator[tuple[str, dict]]:
    """All dicts inside of a setting, with their places."""
    if isinstance(node, dict):
        yield path, node
    items = node.items() if isinstance(node, dict) else enumerate(
        node if isinstance(node, (list, tuple)) else ())
    for key, value in items:
        yield from dicts_of(value, f'{path}.{key}')


def type_name(cfg: Mapping) -> str:
    """Name of the class that a config asks for: ``COSAM`` for ``cosam_mm.COSAM``."""
    kind = cfg.get('type', '')
    return str(getattr(kind, '__name__', kind)).removeprefix('cosam_mm.')


def set_data_root(cfg: Config, data_root: str) -> None:
    """Make every data set of the config look under ``data_root``.

    Raises:
        ValueError: A loader joins data sets of several folders: all would be the same.
    """
    for name in LOADERS:
        parts = _unwrap(cfg[name].dataset) if cfg.get(name) else ()
        if len({part.get('data_root') for part in parts}) > 1:
            raise ValueError(f'--data-root: {name} joins data sets of several folders. '
                             'Set data_root of each in the config.')
    for dataset in _datasets(cfg):
        dataset.data_root = str(data_root)


def check_checkpoint(cfg: Config, force: bool = False) -> None:
    """Have :class:`SplitLeakageHook` look at the checkpoint, whatever the config has.

    With ``force`` it warns of a test on what was trained on instead of refusing.
    """
    names = ('SplitLeakageHook', 'CheckpointGuardHook')
    hooks = list(cfg.get('custom_hooks') or ())
    if not any(type_name(hook) in names for hook in hooks):
        hooks.append(dict(type=names[0]))
    for hook in hooks if force else ():
        if type_name(hook) in names:
            hook['force'] = True
    for dataset in _datasets(cfg) if force else ():
        if type_name(dataset) in ('TrackletFolder', 'DukeMTMCVideoReID'):
            dataset.force = True
    cfg.custom_hooks = hooks


def check_names(cfg: Config) -> None:
    """Refuse a work dir, config file or data root whose name is no UTF-8.

    Logs and records are UTF-8, and could not name it.

    Raises:
        ValueError: There is one.
    """
    for path in (os.path.abspath(cfg.work_dir), cfg.filename,
                 *(dataset.get('data_root') for dataset in _datasets(cfg))):
        if str(path).encode('utf-8', 'replace').decode() != str(path):
            raise ValueError(f'{path!a}: this name is no UTF-8, and no log could '
                             'hold it. Rename the folder or file, or link to it.')


def hook_option(cfg: Config, hook: object, setting: str) -> str:
    """Name of a hook's setting for --cfg-options: ``custom_hooks.2.force``.

    The number is ``<i>`` where the config lacks the hook.
    """
    number = next(
        (i for i, one in enumerate(cfg.get('custom_hooks') or ())
         if isinstance(one, dict) and type_name(one) == type(hook).__name__), '<i>')
    return f'custom_hooks.{number}.{setting}'


def default_work_dir(cfg: Config, config_file: str,
                     split: Optional[int] = None) -> str:
    """Where a run writes: the config's own choice, or ``work_dirs/<config>``.

    A split that was asked for gets a folder of its own below.
    """
    work_dir = Path(cfg.get('work_dir') or Path('work_dirs', Path(config_file).stem))
    return str(work_dir if split is None else work_dir / f'split{split}')


def input_shape(cfg: Config) -> tuple[int, int, int, int]:
    """(C, T, H, W) of one clip as the config's test pipeline makes it.

    Where the model takes frames (``FormatShape`` to NCHW), T counts those of all clips.

    Raises:
        ValueError: The pipeline does not sample frames and crop them.
    """
    pipeline = cfg.test_dataloader.dataset.pipeline
    formats = [step.get('input_format') for step in pipeline]
    clip_lens = [step.clip_len * (step.get('num_clips', 1) if 'NCHW' in formats else 1)
                 for step in pipeline if 'clip_len' in step]
    crops = [step.crop_size for step in pipeline if 'crop_size' in step]
    if not clip_lens or not crops:
        raise ValueError('The test pipeline of this config tells no clip_len and '
                         'crop_size: give --shape C T H W.')
    crop = crops[-1]
    width, height = (crop, crop) if isinstance(crop, int) else crop
    return cfg.model.backbone.get('in_channels', 3), clip_lens[-1], height, width


def dump_scores(cfg: Config, out_file: str) -> None:
    """Let a test write the scores of every clip, or features of every tracklet.

    Raises:
        FileExistsError, ValueError: The file cannot be written.
    """
    check_destination(out_file, overwrite=True)
    metrics = _reid_metrics(cfg)
    for metric in metrics:
        metric.feature_file = out_file
    if metrics:
        return
    averaged = cfg.model.get('cls_head', {}).get('average_clips')
    # The first one: scores are kept that another metric refuses.
    cfg.test_evaluator = [dict(
        type='DumpScores', out_file=out_file,
        score_type='prob' if averaged == 'prob' else 'logit'),
        *_as_list(cfg.test_evaluator)]


def _as_list(evaluators) -> list:
    return list(evaluators) if isinstance(evaluators, (list, tuple)) else [evaluators]


def _reid_metrics(cfg: Config) -> list[ConfigDict]:
    return [metric for metric in _as_list(cfg.test_evaluator)
            if type_name(metric) == 'ReIDMetric']


def set_reid_metric(cfg: Config, **settings) -> None:
    """Change settings of a test's ``ReIDMetric`` that are not None.

    Re-ranking that the config gives options for keeps them.

    Raises:
        ValueError: Something is asked for, and the config tests no re-ID.
    """
    asked = {key: value for key, value in settings.items() if value is not None}
    metrics = _reid_metrics(cfg)
    if asked and not metrics:
        options = ', '.join(f'--{key}' for key in asked)
        raise ValueError(f'{options}: for configs of re-identification, whose '
                         'test_evaluator is a ReIDMetric.')
    for metric in metrics:
        own = metric.get('rerank')
        metric.update(asked)
        if asked.get('rerank') is True and isinstance(own, dict):
            metric.rerank = own


def swap_test_data(cfg: Config, other: Config) -> None:
    """Test the model of ``cfg`` on the test data of another config.

    Data set, folders, protocol and attributes are the other's. What the model was made
    for stays: the pipelines (clip length, image size), distance and re-ranking.

    Raises:
        ValueError: The two configs test in different ways, or the other not at all.
    """
    settings = ('test_dataloader', 'test_evaluator', 'test_cfg')
    missing = [name for name in settings if other.get(name) is None]
    if missing:
        raise ValueError('--cross-dataset: the other config has no '
                         f'{", ".join(missing)}.')
    types = [[metric['type'] for metric in _as_list(c.test_evaluator)]
             for c in (cfg, other)]
    if types[0] != types[1]:
        raise ValueError(f'--cross-dataset: the metrics are {types[0]} here and '
                         f'{types[1]} in the other config.')
    dataset = copy.deepcopy(other.test_dataloader.dataset)
    own, theirs = (list(_unwrap(one)) for one in (cfg.test_dataloader.dataset, dataset))
    kinds = {one['type'] for one in (*own, *theirs)}
    if 'ReIDMetric' not in types[0] and len(kinds) > 1:
        raise ValueError(f'--cross-dataset: {" and ".join(sorted(kinds))} differ.')
    for number, part in enumerate(theirs):
        part.pipeline = copy.deepcopy(own[min(number, len(own) - 1)].pipeline)
    cfg.test_dataloader.dataset = dataset
    for metric, another in zip(_reid_metrics(cfg), _reid_metrics(other)):
        metric.pop('attributes', None)
        if another.get('attributes') is not None:
            metric.attributes = another.attributes
    cfg.pop('num_splits', None)
    if 'num_splits' in other:
        cfg.num_splits = other.num_splits


def set_time_limit(cfg: Config, seconds: float) -> None:
    """Let the steps that read videos and images wait so long for data."""
    for dataset in _datasets(cfg):
        for step in dataset.get('pipeline') or ():
            if str(step['type']).split('.')[-1] in _TIME_LIMITED:
                step['time_limit'] = seconds

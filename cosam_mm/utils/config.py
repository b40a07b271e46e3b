"""Edits of a config that the command-line tools have in common.

Each function takes an mmengine ``Config`` and changes it in place.
"""
import ast
import copy
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Optional

from mmengine.config import Config, ConfigDict
from mmengine.device import get_device

__all__ = [
    'check_checkpoint', 'check_classes', 'config_of_checkpoint', 'default_work_dir',
    'dump_scores',
    'hook_option', 'input_shape', 'resume_training', 'scale_learning_rate',
    'set_data_root', 'set_randomness', 'set_reid_metric', 'set_split', 'set_time_limit',
    'skip_validation', 'split_numbers', 'split_of_test', 'swap_test_data', 'use_amp'
]

# Types beyond plain names that the config in a checkpoint may ask for: what another
# OpenMMLab package has registered, the one class that shipped configs import, and
# models of timm and torchvision.
_ELSEWHERE = re.compile(
    r'(mmaction|mmdet|mmpose|mmpretrain|mmseg)\.[A-Z]\w*|mmcv\.cnn\.NonLocal3d|'
    r'timm\.(?!create_model)[a-z]\w+(\.\w+)?|torchvision\.[a-z]\w+')
# Classes by their place, as mmengine writes configs of its new style: they are looked
# up by their registered names.
_CLASS = re.compile(
    r'(mmaction|mmdet|mmpose|mmpretrain|mmseg|mmengine|mmcv|cosam_mm|torch)'
    r'(\.[a-z_]\w*)+\.([A-Z]\w*)')
# Values that pretty_text writes as calls, besides dict.
_CALLS = dict(set=set, frozenset=frozenset, range=range, PosixPath=str)
# Steps of pipelines that give up what hangs.
_TIME_LIMITED = ('SafeDecordInit', 'SafeRawFrameDecode', 'LoadTrackletFrames')
_LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def _datasets(cfg: Config) -> Iterator[ConfigDict]:
    """Data sets of all loaders, inside of what wraps or joins them."""
    for name in _LOADERS:
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
              for place in _dicts(cfg.get(name), name)]
    counts = {}
    for path, node in places:
        if node.get('multi_class'):
            raise ValueError(f'{path}.multi_class: several labels of a clip are not '
                             'supported. Give each clip one label.')
        counts.update(_class_counts(path, node))
    if len(set(counts.values())) > 1:
        raise ValueError('The numbers of classes disagree: ' + ', '.join(
            f'{path}={count}' for path, count in counts.items())
            + '. Set them alike, with --cfg-options or in the config.')
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
            text = file.read_text(encoding='utf-8', errors='replace')
            yield str(file), len(text.strip().split('\n'))
    classes = (node.get('metainfo') or {}).get('classes')
    if isinstance(classes, (list, tuple)):
        yield f'{path}.metainfo.classes', len(classes)


def _dicts(node, path: str) -> Iterator[tuple[str, dict]]:
    """All dicts inside of a setting, with their places."""
    if isinstance(node, dict):
        yield path, node
    items = node.items() if isinstance(node, dict) else enumerate(
        node if isinstance(node, (list, tuple)) else ())
    for key, value in items:
        yield from _dicts(value, f'{path}.{key}')


def set_data_root(cfg: Config, data_root: str) -> None:
    """Make every data set of the config look under ``data_root``."""
    for dataset in _datasets(cfg):
        dataset.data_root = str(data_root)


def check_checkpoint(cfg: Config, force: bool = False) -> None:
    """Have :class:`SplitLeakageHook` look at the checkpoint, whatever the config has.

    With ``force`` it warns of a test on what was trained on instead of refusing.
    """
    names = ('SplitLeakageHook', 'CheckpointGuardHook')
    hooks = list(cfg.get('custom_hooks') or ())
    if not any(hook['type'] in names for hook in hooks):
        hooks.append(dict(type=names[0]))
    for hook in hooks if force else ():
        if hook['type'] in names:
            hook['force'] = True
    for dataset in _datasets(cfg) if force else ():
        if dataset.get('type') in ('TrackletFolder', 'DukeMTMCVideoReID'):
            dataset.force = True
    cfg.custom_hooks = hooks


def hook_option(cfg: Config, hook: object, setting: str) -> str:
    """Name of a hook's setting for --cfg-options: ``custom_hooks.2.force``.

    The number is ``<i>`` where the config lacks the hook.
    """
    number = next(
        (i for i, one in enumerate(cfg.get('custom_hooks') or ())
         if isinstance(one, dict) and one.get('type') == type(hook).__name__), '<i>')
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


def resume_training(cfg: Config, checkpoint: Optional[str] = None) -> None:
    """Go on with a training from a checkpoint.

    Default: the newest one in the work dir that is whole; where there is none, the
    training begins as the config says, with the weights of its ``load_from`` if any.
    """
    hook = cfg.get('default_hooks', {}).get('checkpoint') or {}
    if not checkpoint and hook.get('type') == 'SafeCheckpointHook':
        hook.start_from = cfg.get('load_from')
    cfg.resume, cfg.load_from = True, checkpoint


def skip_validation(cfg: Config) -> None:
    """Train without validating, and without what needs its metrics."""
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    schedulers = cfg.get('param_scheduler') or []
    if isinstance(schedulers, dict):
        schedulers = [schedulers]
    cfg.param_scheduler = [s for s in schedulers if 'Plateau' not in s['type']]
    cfg.get('default_hooks', {}).get('checkpoint', {}).pop('save_best', None)


def scale_learning_rate(cfg: Config) -> None:
    """Scale the learning rate by the batch size over all processes.

    Raises:
        ValueError: The config does not say which batch size its rate is for.
    """
    if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
        raise ValueError(
            '--auto-scale-lr needs the batch size that the learning rate is for: '
            '--cfg-options auto_scale_lr.base_batch_size=NUMBER.')
    cfg.auto_scale_lr.enable = True


def set_randomness(cfg: Config, **settings) -> None:
    """Change settings of mmengine's ``randomness`` that are neither None nor False."""
    asked = {key: value for key, value in settings.items()
             if value is not None and value is not False}
    cfg.randomness = {'seed': None, **(cfg.get('randomness') or {}), **asked}


def dump_scores(cfg: Config, out_file: str) -> None:
    """Let a test write the scores of every clip, or features of every tracklet."""
    metrics = _reid_metrics(cfg)
    for metric in metrics:
        metric.feature_file = out_file
    if metrics:
        return
    averaged = cfg.model.get('cls_head', {}).get('average_clips')
    cfg.test_evaluator = [*_as_list(cfg.test_evaluator), dict(
        type='DumpScores', out_file=out_file,
        score_type='prob' if averaged == 'prob' else 'logit')]


def _as_list(evaluators) -> list:
    return list(evaluators) if isinstance(evaluators, (list, tuple)) else [evaluators]


def _reid_metrics(cfg: Config) -> list[ConfigDict]:
    return [metric for metric in _as_list(cfg.test_evaluator)
            if metric['type'] == 'ReIDMetric']


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


def use_amp(cfg: Config) -> None:
    """Train in automatic mixed precision: float16, on a CPU bfloat16.

    Raises:
        ValueError: The optimiser wrapper is one that AMP cannot replace.
    """
    kind = cfg.optim_wrapper.get('type', 'OptimWrapper')
    if kind not in ('OptimWrapper', 'AmpOptimWrapper', 'CPUAmpOptimWrapper'):
        raise ValueError('--amp works with optim_wrapper.type OptimWrapper, got '
                         f'{kind}.')
    is_cpu = get_device() == 'cpu'
    cfg.optim_wrapper.type = 'CPUAmpOptimWrapper' if is_cpu else 'AmpOptimWrapper'
    if not is_cpu:
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')


def config_of_checkpoint(text: str) -> Config:
    """Read the config that mmengine wrote into a checkpoint.

    The text is Python, but of a file from anywhere: it is read as data, and nothing
    in it is executed. ``pretrained`` is switched off: no weights are to come from an
    address that the file chooses.

    Args:
        text: ``checkpoint['meta']['cfg']``.

    Raises:
        ValueError: The text holds more than assignments of plain values, a type that
            is a path to import (``type='os.system'``, which mmengine would call) and
            no registered name (``type='mmaction.ResNet'``), or a request to run the
            code of a hub.
    """
    try:
        return Config({name: value for statement in ast.parse(text).body
                       for name, value in _plain_settings(statement)})
    except SyntaxError as error:
        raise ValueError(_refusal(error.lineno or 1, 'is no Python')) from None
    except (MemoryError, RecursionError):  # of the parser
        raise ValueError(_refusal(1, 'begins what is nested too deeply')) from None
    except KeyError as error:
        reason = f'begins a config in which {error.args[0]}'
        raise ValueError(_refusal(1, reason)) from None


def _plain_settings(statement: ast.stmt) -> Iterable[tuple]:
    """Name and value of an assignment, or those of a dict: of names with dots."""
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Dict):
        return _plain_value(statement.value).items()
    if not (isinstance(statement, ast.Assign) and len(statement.targets) == 1
            and isinstance(statement.targets[0], ast.Name)):
        raise ValueError(_refusal(statement.lineno, 'is no plain setting'))
    return [(statement.targets[0].id, _plain_value(statement.value))]


def _refusal(line: int, what: str) -> str:
    return (f"Line {line} of the checkpoint's config {what}, and it is read as data "
            'only: give the config file that it was trained with, too.')


def _plain_call(node: ast.Call):
    """``dict(a=1)``, ``dict({'a.b': 1})``, ``set()``, ``np.float64(1.5)`` and such."""
    function, items = ast.unparse(node.func), []
    if function == 'dict' and len(node.args) <= 1 and all(k.arg for k in node.keywords):
        if node.args and isinstance(node.args[0], ast.Dict):
            items = list(_plain_value(node.args[0]).items())
        elif node.args:
            raise ValueError(_refusal(node.lineno, 'has a call of another kind'))
        return _plain_dict(node.lineno, [
            *items, *((k.arg, _plain_value(k.value)) for k in node.keywords)])
    values = [_plain_value(value) for value in node.args]
    if not node.keywords and re.fullmatch(r'np\.(str_|bool_?|u?int\d+|float\d+)',
                                          function) and len(values) == 1:
        return values[0]
    if function not in _CALLS or node.keywords:
        raise ValueError(_refusal(node.lineno, 'has a call other than dict(...)'))
    try:
        return _CALLS[function](*values)
    except TypeError:
        raise ValueError(_refusal(node.lineno, 'has no plain value')) from None


def _plain_value(node: ast.expr):
    """Value of a literal that may contain calls such as ``dict(key=value)``."""
    if isinstance(node, ast.Call):
        return _plain_call(node)
    if isinstance(node, ast.Dict) and None not in node.keys:
        return _plain_dict(node.lineno, [
            (_plain_value(k), _plain_value(v))
            for k, v in zip(node.keys, node.values)])
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and isinstance(
            node.operand, ast.Name):
        return -_plain_value(node.operand)
    if isinstance(node, ast.Name) and node.id in ('inf', 'nan'):
        return float(node.id)
    if isinstance(node, (ast.List, ast.Tuple)):
        kind = list if isinstance(node, ast.List) else tuple
        return kind(_plain_value(item) for item in node.elts)
    try:
        return ast.literal_eval(node)
    except (TypeError, ValueError):
        raise ValueError(_refusal(node.lineno, 'has no plain value')) from None


def _plain_dict(line: int, items: list[tuple]) -> dict:
    """A dict; its ``type`` may be a registered name, not any path to import."""
    try:
        values = dict(items)
    except TypeError:  # a list as a key
        raise ValueError(_refusal(line, 'has no plain value')) from None
    if values.get('trust_remote_code'):
        raise ValueError(_refusal(line, 'asks to run the code of a hub'))
    if values.get('pretrained'):
        values['pretrained'] = False if values['pretrained'] is True else None
    kind = str(values.get('type', 'name'))
    place = _CLASS.fullmatch(kind)
    if place and not _ELSEWHERE.fullmatch(kind):
        kind = f'{place[1]}.{place[3]}'
        kind = values['type'] = kind if _ELSEWHERE.fullmatch(kind) else place[3]
    if not (kind.isidentifier() or _ELSEWHERE.fullmatch(kind)):
        raise ValueError(_refusal(line, f'asks for {values["type"]!r}'))
    return values

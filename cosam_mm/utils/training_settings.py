"""Settings of a training that a command line says once, wherever a config has them.

Each function takes an mmengine ``Config`` and changes it in place.
"""
from typing import Optional

from mmengine.config import Config, ConfigDict
from mmengine.device import get_device
from mmengine.registry import DefaultScope

from .config import LOADERS, dicts_of, type_name
from .config_options import arguments_of
from .messages import name_some

__all__ = [
    'check_schedule', 'fit_workers', 'freeze_stages', 'resume_training',
    'scale_learning_rate', 'set_batch_size', 'set_epochs', 'set_frames',
    'set_learning_rate', 'set_num_classes', 'set_randomness', 'set_workers',
    'skip_validation', 'use_amp'
]

# Settings of schedules that count epochs, or iterations where by_epoch is False.
_POINTS = ('begin', 'end', 'total_steps', 'step_size')
_FRAMES = ('num_frames', 'num_segments', 'num_tokens')


# -- how long ------------------------------------------------------------------


def _schedules(cfg: Config) -> list[ConfigDict]:
    found = cfg.get('param_scheduler') or []
    return [found] if isinstance(found, dict) else list(found)


def set_epochs(cfg: Config, epochs: int) -> None:
    """Train for so many epochs; the schedule becomes longer or shorter with them.

    All that schedules count is multiplied by new / old epochs and rounded; one that is
    rounded to nothing, as a short warm-up, is left out. Where schedule and loop had
    different lengths, the longer one counts as the old one. Of ``ReduceOnPlateauLR``
    the patience gets shorter, but not longer.

    Raises:
        ValueError: ``epochs`` is no number of epochs, or the training counts
            iterations.
    """
    loop = cfg.get('train_cfg') or {}
    if not isinstance(epochs, int) or isinstance(epochs, bool) or epochs < 1:
        raise ValueError(f'A training has 1 or more epochs, got {epochs!r}.')
    if 'max_epochs' not in loop:
        raise ValueError('The training of this config counts iterations: set '
                         'train_cfg.max_iters, and what its param_scheduler counts.')
    ratio, loop.max_epochs = epochs / max(loop.max_epochs, _length(cfg)), epochs
    loop.val_interval = min(loop.get('val_interval', 1), epochs)
    cfg.param_scheduler = [schedule for schedule in _schedules(cfg)
                           if _stretch(schedule, ratio)]


def _length(cfg: Config) -> int:
    """Epochs after which the schedules that have an end are there; 0 if none has."""
    return max([0, *(one.get('total_steps') or one.get('begin', 0) + one.get('T_max', 0)
                     for one in _schedules(cfg) if one.get('by_epoch', True))])


def check_schedule(cfg: Config) -> Optional[str]:
    """Say if the training ends before its learning rate has come down.

    Raises:
        ValueError: It goes on when a one-cycle schedule has ended, which mmengine
            refuses in the middle of a training.
    """
    epochs, length = (cfg.get('train_cfg') or {}).get('max_epochs'), _length(cfg)
    if not epochs:
        return None
    advice = f'--epochs {epochs} fits the schedule to the training.'
    if any((one.get('total_steps') or epochs) < epochs for one in _schedules(cfg)
           if one.get('by_epoch', True)):
        raise ValueError(f'The training has {epochs} epochs and its one-cycle schedule '
                         f'{length}: {advice}')
    return None if length <= epochs else (
        f'The training has {epochs} epochs and its schedule {length}: the learning '
        f'rate stays high to the end. {advice}')


def _stretch(schedule: ConfigDict, ratio: float) -> bool:
    """Multiply what a schedule counts; False where nothing is left of it."""
    begin, end = schedule.get('begin', 0), schedule.get('end', float('inf'))
    spans_all = schedule.get('T_max') == end - begin
    for key in _POINTS:
        if isinstance(schedule.get(key), int):
            least = 1 if key in ('total_steps', 'step_size') else 0
            schedule[key] = max(least, round(schedule[key] * ratio))
    if 'milestones' in schedule:
        schedule.milestones = [max(1, round(one * ratio))
                               for one in schedule.milestones]
    if 'patience' in schedule:
        schedule.patience = max(1, round(schedule.patience * min(ratio, 1)))
    begin, end = schedule.get('begin', 0), schedule.get('end', float('inf'))
    if 'T_max' in schedule:
        schedule.T_max = end - begin if spans_all else max(
            1, round(schedule.T_max * ratio))
    return end > begin


def set_learning_rate(cfg: Config, rate: float) -> None:
    """Set the learning rate; what schedules aim at keeps its relation to it.

    Raises:
        ValueError: The config has no single optimiser with a rate.
    """
    optimizer = (cfg.get('optim_wrapper') or {}).get('optimizer') or {}
    if 'lr' not in optimizer:
        raise ValueError('--lr: this config has no optim_wrapper.optimizer.lr: set the '
                         'rates of its optimisers with --cfg-options.')
    ratio, optimizer.lr = rate / optimizer.lr, rate
    for schedule in _schedules(cfg):
        for key in ('eta_max', 'eta_min'):
            if schedule.get(key) is not None:
                schedule[key] *= ratio


# -- batches and workers -------------------------------------------------------


def set_batch_size(cfg: Config, size: int) -> None:
    """Clips or tracklets of a training batch, of one process.

    A ``PKSampler`` keeps the tracklets of a person (K) and gets size / K persons.

    Raises:
        ValueError: K does not divide ``size``.
    """
    sampler = cfg.train_dataloader.get('sampler') or {}
    each = sampler.get('num_tracklets_per_pid', 4)
    if type_name(sampler) == 'PKSampler':
        if size % each:
            raise ValueError(
                f'--batch-size {size}: a batch holds {each} tracklets of each person '
                f'(num_tracklets_per_pid); {max(size // each, 1) * each} works.')
        sampler.num_pids_per_batch = size // each
        sampler.pop('batch_size', None)
    cfg.train_dataloader.batch_size = size


def set_workers(cfg: Config, count: int) -> None:
    """Processes that read data, for each loader; 0: the main process reads."""
    for name in LOADERS:
        if cfg.get(name):
            cfg[name].num_workers = count


def fit_workers(cfg: Config) -> None:
    """Take out of loaders without workers what torch refuses without them."""
    for name in LOADERS:
        loader = cfg.get(name)
        if loader and not loader.get('num_workers'):
            loader.pop('prefetch_factor', None)
            loader.persistent_workers = False


# -- classes, frames, weights --------------------------------------------------


def set_num_classes(cfg: Config, count: int) -> None:
    """Set the number of classes of classifier, data sets and blending of batches.

    Raises:
        ValueError: The config has none.
    """
    nodes = [node for name in ('model', *LOADERS)
             for path, node in dicts_of(cfg.get(name), name)
             if 'num_classes' in node and '.backbone' not in path]
    if not nodes:
        raise ValueError('--num-classes: nothing in this config has num_classes. Re-ID '
                         'models have model.head.num_pids.')
    for node in nodes:
        node['num_classes'] = count


def set_frames(cfg: Config, frames: int) -> None:
    """Set the frames of a clip, and all in the model that depends on them.

    Clip lengths of the pipelines, ``num_frames`` of COSAM, the tokens of BERT, segments
    and ``input_shape`` are multiplied by new / old frames.

    Raises:
        ValueError: The training pipeline samples no frames, or one of the numbers would
            be no integer.
    """
    pipelines = [(path, node) for name in LOADERS
                 for path, node in dicts_of(cfg.get(name), name) if '.pipeline' in path]
    counts = [(path, node, key) for path, node in pipelines
              for key in ('clip_len', 'num_clips', 'num_frames') if key in node]
    trained = [one for one in counts if one[0].startswith(LOADERS[0])]
    path, node, key = max(trained, key=lambda one: one[1][one[2]],
                          default=(None, None, None))
    if node is None:
        raise ValueError('--frames: the training pipeline of this config samples no '
                         'frames.')
    old, kind = node[key], node['type']
    places = [(f'{path}.{key}', node, key) for path, node, own in counts
              if own == key and node['type'] == kind and node[key] == old]
    for path, node in dicts_of(cfg.get('model'), 'model'):
        places += [(f'{path}.{key}', node, key) for key in _FRAMES if key in node]
        if 'input_shape' in node:  # (1, C, T, H, W) or (T, C, H, W)
            node['input_shape'] = list(node['input_shape'])
            places.append((f'{path}.input_shape', node['input_shape'],
                           2 if len(node['input_shape']) == 5 else 0))
    odd = [path for path, node, key in places if node[key] * frames % old]
    if odd:
        raise ValueError(f'--frames {frames}: the config is for {old}, and the number '
                         f'of {name_some(odd)} would be no integer. Take '
                         f'{old // 2}, or {old * 2}.')
    for _, node, key in places:
        node[key] = node[key] * frames // old


def freeze_stages(cfg: Config, stage: int) -> None:
    """Freeze the backbone up to a stage: 0 the stem, k also the first k stages.

    Args:
        cfg: Its backbone, also that inside of a ``PluggedBackbone``.
        stage: -1 for none.

    Raises:
        ValueError: The backbone has no such setting.
    """
    backbone = cfg.model.backbone
    while isinstance(backbone.get('backbone'), dict):
        backbone = backbone.backbone
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
        known = arguments_of(backbone.type) or ()
    if 'frozen_stages' not in known:
        raise ValueError(f'--freeze: {backbone.type} has no frozen_stages. Give its '
                         'parameters a rate of 0 instead: --cfg-options optim_wrapper.'
                         'paramwise_cfg.custom_keys.backbone.lr_mult=0.')
    backbone.frozen_stages = stage


# -- the rest of a command line ------------------------------------------------


def resume_training(cfg: Config, checkpoint: Optional[str] = None) -> None:
    """Go on with a training from a checkpoint.

    Default: the newest one in the work dir that is whole; where there is none, the
    training begins as the config says, with the weights of its ``load_from`` if any.
    """
    hook = cfg.get('default_hooks', {}).get('checkpoint') or {}
    if not checkpoint and type_name(hook) == 'SafeCheckpointHook':
        hook.start_from = cfg.get('load_from')
    cfg.resume, cfg.load_from = True, checkpoint


def skip_validation(cfg: Config) -> None:
    """Train without validating, and without what needs its metrics."""
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    cfg.param_scheduler = [one for one in _schedules(cfg)
                           if 'Plateau' not in one['type']]
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

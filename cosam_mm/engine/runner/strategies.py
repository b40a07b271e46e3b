"""Building of runners, and mmengine's strategies, which spread over processes what a
training keeps: optimiser, gradients and weights.

A strategy file, such as those of ``configs/_base_/strategies``, holds ``runner_type``
and ``strategy`` and goes with any training config.
"""
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Union

from mmengine.config import Config
from mmengine.registry import RUNNERS
from mmengine.runner import FlexibleRunner, Runner

from cosam_mm.apis.model_loading import check_installed
from cosam_mm.datasets.class_weights import set_class_weights, without_class_weights
from cosam_mm.engine.runner.console import QuietRunner
from cosam_mm.utils.checkpoint_integrity import check_checkpoint
from cosam_mm.utils.config import check_names
from cosam_mm.utils.io import loading_weights_only

from .work_dir_lock import lock_work_dir

__all__ = ['build_runner', 'fit_to_strategy', 'loading_safely', 'use_strategy']


class _ConfigOfRun(Config):
    """A config that keeps its text until it changes.

    yapf takes up to a second for the layout, and mmengine asks for the text several
    times at the start of a run and twice for each checkpoint.
    """

    @property
    def pretty_text(self) -> str:
        """The config as Python."""
        content = repr(self._cfg_dict)
        if content not in _texts:
            _texts.clear()
            _texts[content] = super().pretty_text
        return _texts[content]

    def dump(self, file=None):
        """Write the config of a training, which nobody else may do in its folder."""
        if file is not None:  # the first file of a run, by its main process
            lock_work_dir(self.work_dir)
            if os.path.exists(file) and not os.path.isfile(file):  # a pipe would wait
                raise ValueError(f'{file} is no file: remove it.')
        return super().dump(file)


class _ConfigOfTest(_ConfigOfRun):
    """Leaves the config of a training, beside its checkpoints, as it is.

    mmengine writes the one of the test into a folder of its own as well.
    """

    def dump(self, file=None):
        """Write the config, or return its text."""
        if file is None or not any(Path(file).parent.glob('*.pth')):
            return Config.dump(self, file)


_texts: dict[str, str] = {}  # of the latest config: its content -> its text


def build_runner(cfg: Config, keeps_config: bool = False
                 ) -> Union[Runner, FlexibleRunner]:
    """Build the runner that a config asks for.

    With ``keeps_config`` it tests: a training's config in the work dir is not written
    over. Else weights of classes become numbers, see ``datasets/class_weights.py``.

    Raises:
        RuntimeError: The config is for MMAction2, which is not installed.
        ValueError: A folder's name is no UTF-8.
    """
    check_names(cfg)
    kind = _ConfigOfTest if keeps_config else _ConfigOfRun
    run_cfg = kind.__new__(kind)
    run_cfg.__dict__.update(cfg.__dict__)
    check_installed(cfg.get('default_scope'))
    if keeps_config:
        run_cfg.model = without_class_weights(cfg.model)
    else:
        set_class_weights(run_cfg)
    if 'runner_type' in cfg:
        return RUNNERS.build(run_cfg)
    return QuietRunner.from_cfg(run_cfg)


@contextmanager
def loading_safely(cfg: Config) -> Iterator[None]:
    """Have a run load nothing but weights, unless DeepSpeed loads its own folders.

    Raises:
        ValueError: A file of weights that the model begins with is damaged.
    """
    for path in _first_weights(cfg.get('model')):
        if os.path.isfile(path):
            check_checkpoint(path)
    kind = (cfg.get('strategy') or {}).get('type')
    with nullcontext() if kind == 'DeepSpeedStrategy' else loading_weights_only():
        yield


def _first_weights(node: Any, key: str = '') -> Iterator[str]:
    """Files that ``init_cfg`` and ``pretrained`` name, at any depth of a config."""
    if isinstance(node, str) and key in ('checkpoint', 'pretrained'):
        yield os.path.expanduser(node)
    for name, inner in (node.items() if isinstance(node, dict) else
                        [(key, one) for one in node] if isinstance(node, (list, tuple))
                        else ()):
        yield from _first_weights(inner, name)


def use_strategy(cfg: Config, strategy_file: str) -> None:
    """Merge the ``runner_type`` and ``strategy`` of a file into a config.

    Raises:
        ValueError: The file lacks one of them.
    """
    settings = Config.fromfile(strategy_file)
    if 'strategy' not in settings or 'runner_type' not in settings:
        raise ValueError(f'--strategy: {strategy_file} sets no runner_type and '
                         'strategy, as configs/_base_/strategies/fsdp.py does.')
    cfg.merge_from_dict(settings.to_dict())


def fit_to_strategy(cfg: Config) -> None:
    """Make ``optim_wrapper`` one that the config's strategy works with, if it has one.

    DeepSpeed adds up and clips gradients itself. Under FSDP mmengine (0.10.7) would
    clip the gradients of each process by the norm of its own share. Neither resumes:
    ``FlexibleRunner`` counts an epoch too many in a checkpoint written after
    validation, and passes torch the state of FSDP's optimiser in an order of arguments
    that torch has changed since.

    Raises:
        ValueError: There is one process only, the gradients cannot be clipped, or a
            training is to be resumed.
    """
    kind = (cfg.get('strategy') or {}).get('type')
    if kind not in ('FSDPStrategy', 'DeepSpeedStrategy'):
        return
    if cfg.launcher == 'none':
        raise ValueError(
            f'{kind} spreads a model over processes, and there is one: start them by '
            'tools/dist_train.sh or tools/slurm_train.sh.')
    if cfg.get('resume'):
        raise ValueError(
            f'{kind}: mmengine 0.10.7 cannot resume under a strategy. Start anew from '
            'the weights with --cfg-options load_from=CHECKPOINT.')
    if kind == 'DeepSpeedStrategy':
        _hand_over_to_deepspeed(cfg)
    elif cfg.optim_wrapper.get('clip_grad'):
        raise ValueError(
            'FSDPStrategy: each process would clip its share of the gradients by the '
            "norm of that share. Set optim_wrapper.clip_grad=None with --cfg-options, "
            'or use DeepSpeedStrategy.')


def _hand_over_to_deepspeed(cfg: Config) -> None:
    wrapper = cfg.optim_wrapper
    wrapper.type = 'DeepSpeedOptimWrapper'
    cfg.strategy.gradient_accumulation_steps = wrapper.pop('accumulative_counts', 1)
    clip_grad = wrapper.pop('clip_grad', None)
    if not clip_grad:
        return
    if set(clip_grad) != {'max_norm'}:
        raise ValueError('DeepSpeedStrategy clips gradients by their Euclidean norm: '
                         'optim_wrapper.clip_grad may set max_norm only, got '
                         f'{dict(clip_grad)}.')
    cfg.strategy.gradient_clipping = clip_grad.max_norm

"""What a training draws follows from its seed and its place: see ``engine/draws.py``.

mmengine saves no random states, and a resumed training draws other numbers: other
crops, other dropout. Without a seed in the config it even shuffles by another one.
"""
from collections.abc import Sequence
from typing import Optional

from mmengine.dataset import InfiniteSampler
from mmengine.dist import get_rank
from mmengine.hooks import DistSamplerSeedHook
from mmengine.registry import HOOKS
from mmengine.runner import IterBasedTrainLoop

from .seeding import NumberedSampler, can_skip, number_draws, seed_process

__all__ = ['SeededSamplingHook']

# Key of a checkpoint's meta.
_DRAWS = 'draws'
_TRAIN, _VAL = 0, 1


def _begin_anew(loop: IterBasedTrainLoop) -> None:
    """Let the loop ask its loader as it is now.

    mmengine does so when it makes the loop, before there is a hook: workers have
    started, with the data set as it was, and batches have been drawn.
    """
    loader = loop.dataloader
    make, loop.dataloader_iterator = type(loop.dataloader_iterator), None
    loader._iterator = None  # where workers live on
    if isinstance(loader.sampler, InfiniteSampler):
        loader.sampler.indices = loader.sampler._indices_of_rank()
    loop.dataloader_iterator = make(loader)


@HOOKS.register_module()
class SeededSamplingHook(DistSamplerSeedHook):
    """Makes a training draw the same however often it is resumed.

    A loop that counts iterations loads all that came before once more when it is
    resumed, as mmengine does it. The hook takes the place of mmengine's
    ``DistSamplerSeedHook``, which it is, too::

        default_hooks = dict(sampler_seed=dict(type='SeededSamplingHook'))

    The draws do not depend on the number of workers, nor on whether these live on
    from epoch to epoch. They do on the number of processes.
    """

    def __init__(self) -> None:
        self._resumed: dict = {}
        self._train: Optional[NumberedSampler] = None
        self._val: Optional[NumberedSampler] = None
        self._done = 0  # batches of this epoch, when it began and now
        self._begun_at = 0
        self._counts_iters = False  # the loop

    @property
    def batches_done(self) -> int:
        """Batches of the epoch that is under way."""
        return self._done

    def can_go_on_within_epoch(self, runner) -> bool:
        """Whether a checkpoint within an epoch would do."""
        return self._train is not None and can_skip(runner.train_dataloader)

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Note where a resumed training stands."""
        if runner._resume:
            self._resumed = (checkpoint.get('meta') or {}).get(_DRAWS) or {}

    def before_train(self, runner) -> None:
        """Number the draws of the loaders."""
        loader = runner.train_dataloader
        seed = self._resumed.get('seed')
        if seed is None:
            seed = getattr(loader.sampler, 'seed', None)
        if not isinstance(seed, int):
            seed = runner.seed
        elif hasattr(loader.sampler, 'seed'):
            loader.sampler.seed = seed
        self._seed = seed
        self._train = number_draws(loader, (seed, get_rank(), _TRAIN))
        self._counts_iters = isinstance(runner.train_loop, IterBasedTrainLoop)
        self._done = self._begun_at = (
            0 if self._counts_iters else self._resumed.get('batches_done', 0))
        if self._train is not None:
            self._train.skip = self._done * self._resumed.get('batch_size', 0)
        if runner.val_loop is not None:
            self._val = number_draws(
                runner.val_dataloader, (seed, get_rank(), _VAL))

    def before_train_epoch(self, runner) -> None:
        """Tell the samplers the epoch."""
        super().before_train_epoch(runner)
        if self._train is not None:
            self._train.epoch = runner.epoch
            if self._counts_iters:
                _begin_anew(runner.train_loop)

    def before_train_iter(self, runner, batch_idx: int,
                          data_batch: Optional[Sequence] = None) -> None:
        """Set the generators as for this iteration."""
        seed_process(runner.seed, runner.iter, _TRAIN)

    def after_train_iter(self, runner, batch_idx: int,
                         data_batch: Optional[Sequence] = None,
                         outputs: Optional[dict] = None) -> None:
        """Count."""
        self._done = self._begun_at + batch_idx + 1

    def after_train_epoch(self, runner) -> None:
        """The next epoch begins at its beginning."""
        self._done = self._begun_at = 0
        if self._train is not None:
            self._train.skip = 0

    def before_val_epoch(self, runner) -> None:
        """Set the generators as for this validation."""
        seed_process(runner.seed, runner.iter, _VAL)
        if self._val is not None:
            self._val.epoch = runner.epoch

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Say where the training stands."""
        checkpoint['meta'][_DRAWS] = dict(
            seed=self._seed, batches_done=self._done,
            batch_size=getattr(runner.train_dataloader, 'batch_size', None) or 0)

"""Panels of COSAM's masks during training."""
from contextlib import ExitStack
from typing import Any, Optional

from mmengine.dist import is_main_process
from mmengine.hooks import Hook

from cosam_mm.engine.runner.distributed import bare_model
from cosam_mm.layers import COSAM
from cosam_mm.layers.mask_recording import MaskRecord, record_masks
from cosam_mm.registry import HOOKS

__all__ = ['MaskVisualizationHook']


# Pixels of a frame's longer side: hundreds of validations leave panels.
_SIDE = 96


@HOOKS.register_module()
class MaskVisualizationHook(Hook):
    """Give the visualizer panels of the masks of some validation samples.

    The masks are recorded during the validation: nothing is computed or loaded a second
    time, and training and metrics are the same as without the hook. The frames are
    shown as the network gets them. Samples are spread evenly over those of the main
    process, and are the same each time unless the sampler shuffles. Each panel goes to
    every ``vis_backend`` as ``masks_<number>``, with the step of the metrics.

    Without a COSAM in the model the log says so, once.

    Args:
        num_samples: Panels of a validation.
        interval: Validations from one with panels to the next; the first one has some.
        columns: Frames side by side, at most.

    Raises:
        ValueError: A number is not positive.
    """

    priority = 'LOW'

    def __init__(self, num_samples: int = 2, interval: int = 1, columns: int = 6
                 ) -> None:
        for name, value in (('num_samples', num_samples), ('interval', interval),
                            ('columns', columns)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f'{name} must be a whole number of at least 1, got '
                                 f'{value!r}.')
        self.num_samples = num_samples
        self.interval = interval
        self.columns = columns
        self._num_validations = 0
        self._positions: list[tuple[int, int]] = []  # (batch, sample in it)
        self._recording = ExitStack()
        self._record: Optional[MaskRecord] = None
        self._said: set[str] = set()

    def before_val_epoch(self, runner) -> None:
        """Choose the samples, or find that there is nothing to show."""
        is_turn = self._num_validations % self.interval == 0
        self._num_validations += 1
        self._positions = []
        if is_turn and is_main_process():
            if any(isinstance(module, COSAM) for module in runner.model.modules()):
                self._positions = _spread(self.num_samples, len(runner.val_dataloader))
            else:
                self._say(runner, 'there is no COSAM in the model')

    def before_val_iter(self, runner, batch_idx: int, data_batch: Any = None) -> None:
        """Listen to the model where the batch holds a chosen sample."""
        self._recording.close()  # of a batch that failed
        if any(batch == batch_idx for batch, _ in self._positions):
            self._record = self._recording.enter_context(record_masks(runner.model))

    def after_val_iter(self, runner, batch_idx: int, data_batch: Any = None,
                       outputs: Any = None) -> None:
        """Make the panels of the chosen samples."""
        if self._record is None:
            return
        self._recording.close()
        record, self._record = self._record, None
        for number, (batch, sample) in enumerate(self._positions):
            if batch == batch_idx:
                try:
                    panel = self._panel(runner, data_batch, record, sample)
                except ValueError as error:
                    self._say(runner, str(error))
                    return
                # The step at which mmengine's LoggerHook logs the metrics.
                by_epoch = runner.log_processor.by_epoch
                runner.visualizer.add_image(f'masks_{number}', panel,
                                            runner.epoch if by_epoch else runner.iter)

    def _panel(self, runner, data_batch: Any, record: MaskRecord, sample: int):
        """Frames and masks of a sample, (H, W, 3) uint8."""
        # These need packages that trainings without this hook do not.
        from cosam_mm.visualization.mask_overlay import mask_grid, mask_layers
        from cosam_mm.visualization.mask_recorder import batch_clip

        clip = batch_clip(bare_model(runner.model), data_batch, record.masks(), sample)
        if not mask_layers(clip):
            raise ValueError('no COSAM of the model makes a spatial mask')
        return mask_grid(clip, columns=self.columns, side=_SIDE)

    def _say(self, runner, reason: str) -> None:
        if reason not in self._said:
            self._said.add(reason)
            runner.logger.info(f'No panels of masks are made: {reason}.')


def _spread(num_samples: int, num_batches: int) -> list[tuple[int, int]]:
    """Samples (batch, number in it) spread evenly, from the first of each batch on.

    >>> _spread(2, 10), _spread(3, 1)
    ([(0, 0), (5, 0)], [(0, 0), (0, 1), (0, 2)])
    """
    batches = [number * num_batches // num_samples for number in range(num_samples)]
    return [(batch, batches[:number].count(batch))
            for number, batch in enumerate(batches)]

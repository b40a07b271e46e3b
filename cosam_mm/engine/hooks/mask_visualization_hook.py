"""Panels of COSAM's masks during training."""
from contextlib import ExitStack
from typing import Any, NamedTuple, Optional

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from cosam_mm.engine.runner.distributed import bare_model
from cosam_mm.layers import COSAM
from cosam_mm.layers.mask_recording import MaskRecord, record_masks

__all__ = ['MaskVisualizationHook']


# Pixels of a frame's longer side: hundreds of validations leave panels.
_SIDE = 96


class _Position(NamedTuple):
    """A sample of the validation: which one of which batch."""
    batch: int
    sample: int


@HOOKS.register_module()
class MaskVisualizationHook(Hook):
    """Give the visualizer panels of the masks of some validation samples.

    The masks are recorded during the validation: nothing is computed or loaded a second
    time, and training and metrics are the same as without the hook. The frames are
    shown as the network gets them, cropped and resized. Samples are spread evenly over
    those of the main process, and are the same each time, unless the sampler of the
    validation shuffles. Each panel goes to every ``vis_backend`` as
    ``masks_<number>``, with the step of the validation's metrics.

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
        self._positions: list[_Position] = []
        self._recording = ExitStack()
        self._record: Optional[MaskRecord] = None
        self._said: set[str] = set()

    def before_val_epoch(self, runner) -> None:
        """Choose the samples, or find that there is nothing to show."""
        is_turn = self._num_validations % self.interval == 0
        self._num_validations += 1
        self._positions = []
        if not is_turn or not is_main_process():
            return
        if not any(isinstance(module, COSAM) for module in runner.model.modules()):
            self._say(runner, 'there is no COSAM in the model')
            return
        self._positions = _spread(self.num_samples, len(runner.val_dataloader))

    def before_val_iter(self, runner, batch_idx: int, data_batch: Any = None) -> None:
        """Listen to the model where the batch holds a chosen sample."""
        self._recording.close()  # of a batch that failed
        if any(position.batch == batch_idx for position in self._positions):
            self._record = self._recording.enter_context(record_masks(runner.model))

    def after_val_iter(self, runner, batch_idx: int, data_batch: Any = None,
                       outputs: Any = None) -> None:
        """Make the panels of the chosen samples."""
        if self._record is None:
            return
        self._recording.close()
        record, self._record = self._record, None
        for number, position in enumerate(self._positions):
            if position.batch == batch_idx:
                try:
                    panel = self._panel(runner, data_batch, record,
                                        position.sample)
                except ValueError as error:
                    self._say(runner, str(error))
                    return
                runner.visualizer.add_image(f'masks_{number}', panel, _step(runner))

    def _panel(self, runner, data_batch: Any, record: MaskRecord, sample: int):
        """Frames and masks of a sample, (H, W, 3) uint8."""
        # These need packages that trainings without this hook do not.
        from cosam_mm.visualization.mask_overlay import mask_grid, mask_layers
        from cosam_mm.visualization.mask_recorder import batch_clip

        clip = batch_clip(bare_model(runner.model),
                          data_batch, record.masks(), sample)
        if not mask_layers(clip):
            raise ValueError('no COSAM of the model makes a spatial mask')
        return mask_grid(clip, columns=self.columns, side=_SIDE)

    def _say(self, runner, reason: str) -> None:
        if reason not in self._said:
            self._said.add(reason)
            runner.logger.info(f'No panels of masks are made: {reason}.')


def _spread(num_samples: int, num_batches: int) -> list[_Position]:
    """Samples spread evenly over batches, from the first of each on.

    >>> _spread(2, 10)
    [_Position(batch=0, sample=0), _Position(batch=5, sample=0)]
    >>> _spread(3, 1)[-1]
    _Position(batch=0, sample=2)
    """
    batches = [number * num_batches // num_samples for number in range(num_samples)]
    return [_Position(batch, batches[:number].count(batch))
            for number, batch in enumerate(batches)]


def _step(runner) -> int:
    """The step at which mmengine's LoggerHook logs the metrics of a validation."""
    return runner.epoch if runner.log_processor.by_epoch else runner.iter

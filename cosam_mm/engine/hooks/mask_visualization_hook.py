"""Pictures of COSAM's masks while a model is trained."""
from contextlib import ExitStack
from typing import Any, NamedTuple, Optional

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS

from cosam_mm.layers import COSAM
from cosam_mm.layers.mask_recording import MaskRecord, record_masks

__all__ = ['MaskVisualizationHook']


# Pixels of a frame's longer side: hundreds of validations leave pictures.
_SIDE = 96


class _Place(NamedTuple):
    """A sample of the validation: which one of which batch."""
    batch: int
    sample: int


@HOOKS.register_module()
class MaskVisualizationHook(Hook):
    """Give the visualizer pictures of the masks of some validation samples.

    The masks are noted while the validation runs anyway: nothing is computed or loaded
    a second time, and training and its figures are what they are without the hook.
    The frames are shown as the network gets them, cropped and resized. Samples are
    spread evenly over those of the main process, and are the same each time, unless
    the sampler of the validation shuffles. Each picture goes to every ``vis_backend``
    as ``masks_<number>``, with the step of the validation's figures.

    Without a COSAM in the model the log says so, once.

    Args:
        num_samples: Pictures of a validation.
        interval: Draw in every so-manieth validation of a run, from the first.
        columns: Frames of a picture, at most.

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
        self._places: list[_Place] = []
        self._recording = ExitStack()
        self._record: Optional[MaskRecord] = None
        self._said: set[str] = set()

    def before_val_epoch(self, runner) -> None:
        """Choose the samples, or find that there is nothing to show."""
        is_turn = self._num_validations % self.interval == 0
        self._num_validations += 1
        self._places = []
        if not is_turn or not is_main_process():
            return
        if not any(isinstance(module, COSAM) for module in runner.model.modules()):
            self._say(runner, 'there is no COSAM in the model')
            return
        self._places = _spread(self.num_samples, len(runner.val_dataloader))

    def before_val_iter(self, runner, batch_idx: int, data_batch: Any = None) -> None:
        """Listen to the model where the batch holds a chosen sample."""
        self._recording.close()  # of a batch that failed
        if any(place.batch == batch_idx for place in self._places):
            self._record = self._recording.enter_context(record_masks(runner.model))

    def after_val_iter(self, runner, batch_idx: int, data_batch: Any = None,
                       outputs: Any = None) -> None:
        """Draw the chosen samples of the batch."""
        if self._record is None:
            return
        self._recording.close()
        record, self._record = self._record, None
        for number, place in enumerate(self._places):
            if place.batch == batch_idx:
                try:
                    picture = self._draw(runner, data_batch, record, place.sample)
                except ValueError as error:
                    self._say(runner, str(error))
                    return
                runner.visualizer.add_image(f'masks_{number}', picture, _step(runner))

    def _draw(self, runner, data_batch: Any, record: MaskRecord, sample: int):
        """(H, W, 3) uint8."""
        # Drawing packages are imported by those who draw.
        from cosam_mm.visualization.mask_drawing import grid_picture, mask_layers
        from cosam_mm.visualization.mask_inputs import batch_clip

        model = runner.model
        clip = batch_clip(model.module if is_model_wrapper(model) else model,
                          data_batch, record.masks(), sample)
        if not mask_layers(clip):
            raise ValueError('no COSAM of the model makes a spatial mask')
        return grid_picture(clip, columns=self.columns, side=_SIDE)

    def _say(self, runner, reason: str) -> None:
        if reason not in self._said:
            self._said.add(reason)
            runner.logger.info(f'No pictures of masks are drawn: {reason}.')


def _spread(num_samples: int, num_batches: int) -> list[_Place]:
    """Samples spread evenly over batches, from the first of each on.

    >>> _spread(2, 10)
    [_Place(batch=0, sample=0), _Place(batch=5, sample=0)]
    >>> _spread(3, 1)[-1]
    _Place(batch=0, sample=2)
    """
    batches = [number * num_batches // num_samples for number in range(num_samples)]
    return [_Place(batch, batches[:number].count(batch))
            for number, batch in enumerate(batches)]


def _step(runner) -> int:
    """Where mmengine's LoggerHook puts the figures of a validation."""
    return runner.epoch if runner.log_processor.by_epoch else runner.iter

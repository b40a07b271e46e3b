"""A log of curves that a full disk does not end a training for."""
import logging

from mmengine.logging import print_log
from mmengine.visualization import LocalVisBackend

from cosam_mm.registry import VISBACKENDS
from cosam_mm.utils.compat import register_renamed

__all__ = ['FaultTolerantVisBackend']


@VISBACKENDS.register_module()
class FaultTolerantVisBackend(LocalVisBackend):
    """mmengine's local backend; what cannot be written is left out, with a warning.

    Use it as that: ``vis_backends=[dict(type='FaultTolerantVisBackend')]``. Files and
    their format are the same.
    """

    _warned = False

    def _dump(self, value_dict: dict, file_path: str, file_format: str) -> None:
        try:
            super()._dump(value_dict, file_path, file_format)
        except OSError as error:
            if not self._warned:
                print_log(f'{file_path} could not be written ({error.strerror}): the '
                          'curves will have gaps.', logger='current',
                          level=logging.WARNING)
            self._warned = True
        else:
            self._warned = False


register_renamed(VISBACKENDS, 'EnduringVisBackend', FaultTolerantVisBackend)

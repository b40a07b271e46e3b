"""Published checkpoints of the reference repositories in this package's names."""
from cosam_mm.utils.io import (
    check_destination,
    read_checkpoint,
    unwrap_state_dict,
    write_checkpoint,
)

from .key_renaming import convert_state_dict
from .recognise_action import ReferenceModel, recognise
from .recognise_reid import ReferenceReID
from .shipped_config import shipped_config

__all__ = [
    'ReferenceModel', 'ReferenceReID', 'check_destination', 'convert_state_dict',
    'read_checkpoint', 'recognise', 'shipped_config', 'unwrap_state_dict',
    'write_checkpoint'
]

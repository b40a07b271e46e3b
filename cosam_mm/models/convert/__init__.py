"""Published checkpoints of the reference repositories in this package's names."""
from .checkpoint_file import (
    check_destination,
    read_checkpoint,
    unwrap_state_dict,
    write_checkpoint,
)
from .recognise import ReferenceModel, recognise
from .recognise_reid import ReferenceReID
from .rename import convert_state_dict
from .shipped_config import shipped_config

__all__ = [
    'ReferenceModel', 'ReferenceReID', 'check_destination', 'convert_state_dict',
    'read_checkpoint', 'recognise', 'shipped_config', 'unwrap_state_dict',
    'write_checkpoint'
]

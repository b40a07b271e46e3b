"""Published checkpoints of the reference repositories in this package's names."""
from cosam_mm.utils.io import (
    check_destination,
    read_checkpoint,
    unwrap_state_dict,
    write_checkpoint,
)

from .key_renaming import convert_state_dict
from .reference_models import ReferenceModel, recognise, shipped_config

__all__ = [
    'ReferenceModel', 'check_destination', 'convert_state_dict', 'read_checkpoint',
    'recognise', 'shipped_config', 'unwrap_state_dict', 'write_checkpoint'
]

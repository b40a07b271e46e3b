"""Files that would write a marker if anything in them were run."""
import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import torch

EVIL_CONFIG = 'model = dict(type=open({!r}, "w").close())\n'


class Payload:
    """A pickle that makes a file when it is loaded in the usual way."""

    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return exec, (f'open({self.marker!r}, "w").close()',)


def write_checkpoint(path: Path, marker: Path, zipped: bool = True) -> Path:
    """What looks like a checkpoint of a training, its optimiser a payload."""
    torch.save(dict(
        meta=dict(epoch=9, iter=99, cfg='', dataset_meta={}),
        state_dict={'backbone.conv1.weight': torch.zeros(1)},
        optimizer=Payload(marker)), path, _use_new_zipfile_serialization=zipped)
    return path


def write_arrays(path: Path, marker: Path, names) -> Path:
    """An .npz file with arrays of such names, each of them pickled objects."""
    with zipfile.ZipFile(path, 'w') as archive:
        for name in names:
            array = io.BytesIO()
            np.lib.format.write_array(array, np.array([Payload(marker)], object),
                                      allow_pickle=True)
            archive.writestr(f'{name}.npy', array.getvalue())
    return path


def write_pickle(path: Path, marker: Path) -> Path:
    """A bare pickle, whatever the name of the file says."""
    path.write_bytes(pickle.dumps(Payload(marker)))
    return path


def assert_is_dangerous(path: Path, marker: Path) -> None:
    """The file does its work where it is loaded without care."""
    torch.load(path, weights_only=False)
    assert marker.exists()
    marker.unlink()

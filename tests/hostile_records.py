"""Checkpoints that claim more than they hold, and proof that a file is dangerous."""
import io
import pickle
import zipfile
from pathlib import Path

import torch


def assert_is_dangerous(path: Path, marker: Path) -> None:
    """The file does its work where it is loaded without care."""
    torch.load(path, weights_only=False)
    assert marker.exists()
    marker.unlink()


def write_records(path: Path, content, records=(), compression=zipfile.ZIP_STORED
                  ) -> Path:
    """A file as torch.save writes it, with any content and any bytes of storages."""

    class Pickler(pickle.Pickler):

        def persistent_id(self, item):
            is_storage = isinstance(item, tuple) and item[:1] == ('storage',)
            return item if is_storage else None

    stream = io.BytesIO()
    Pickler(stream, 2).dump(content)
    with zipfile.ZipFile(path, 'w', compression) as archive:
        for name, data in {'data.pkl': stream.getvalue(), 'byteorder': b'little',
                           'version': b'3\n', **dict(records)}.items():
            archive.writestr(f'archive/{name}', data)
    return path


class Tensor:
    """Pickled as a tensor over a storage that may not be as large as it claims."""

    def __init__(self, numel, shape, stride, offset=0):
        storage = 'storage', torch.FloatStorage, '0', 'cpu', numel
        self.arguments = storage, offset, shape, stride, False, {}

    def __reduce__(self):
        return torch._utils._rebuild_tensor_v2, self.arguments

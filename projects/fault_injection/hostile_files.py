"""Files that would write a marker if anything in them were run."""
import contextlib
import http.server
import io
import pickle
import threading
import zipfile
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config

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


def change_config(source: Path, path: Path, change) -> Path:
    """A real checkpoint whose config ``change`` has edited."""
    content = torch.load(source, weights_only=False)  # one of this repository
    settings = {}
    exec(content['meta']['cfg'], {}, settings)
    cfg = Config(settings)
    change(cfg)
    content['meta']['cfg'] = cfg.pretty_text
    torch.save(content, path)
    return path


def flip_a_bit(path: Path) -> Path:
    """Change a checkpoint in the middle, where its tensors are."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    return path


def make_hostile(cfg, how, url):
    """Make a config out of a file ask for an address, or import a module.

    ``this`` is a module of Python's own that prints when it is imported.
    """
    if how == 'address':
        cfg.model.cls_head = dict(
            type='mmpretrain.VQAGenerationHead', inference_method='rank',
            decoder=dict(type='mmpretrain.GlobalAveragePooling'),
            num_ans_candidates=1, answer_list_path=f'{url}/a.pkl')
    elif how == 'pipeline':
        dataset = cfg.test_dataloader.dataset
        dataset.get('query', dataset).pipeline += [dict(type='this')]
    elif how == 'default scope':
        cfg.default_scope = 'this'
    else:
        cfg.model.backbone['_scope_' if how == 'scope' else 'type'] = 'this'


@contextlib.contextmanager
def listener():
    """Address of a server on loopback, and what it was asked for so far."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):

        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f'http://127.0.0.1:{server.server_port}', asked
        server.shutdown()

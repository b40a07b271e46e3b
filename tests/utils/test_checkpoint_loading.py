"""What mmengine loads within ``loading_weights_only``: tensors and plain values."""
import contextlib
import functools
import http.server
import os
import threading

import pytest
import torch
from mmengine.model import BaseModule
from mmengine.runner import CheckpointLoader, load_checkpoint

from cosam_mm.utils.io import loading_weights_only
from tests.hostile_files import assert_is_dangerous, write_checkpoint


class Quiet(http.server.SimpleHTTPRequestHandler):

    def log_message(self, *args):
        pass


@contextlib.contextmanager
def served(folder):
    """The address of a server of a folder's files."""
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f'http://127.0.0.1:{server.server_address[1]}'
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(params=[True, False], ids=['zip', 'old format'])
def evil(request, tmp_path):
    path, marker = tmp_path / 'evil.pth', tmp_path / 'marker'
    write_checkpoint(path, marker, zipped=request.param)
    assert_is_dangerous(path, marker)
    return path, marker


@pytest.fixture(params=['file', 'address'])
def address(request, tmp_path, monkeypatch):
    """Turns a file in tmp_path into what names it."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    if request.param == 'file':
        yield str
    else:
        with served(tmp_path) as server:
            yield lambda path: f'{server}/{path.name}'


@pytest.mark.parametrize('forced', [False, True])
@pytest.mark.parametrize('read', [
    CheckpointLoader.load_checkpoint,
    lambda address: load_checkpoint(torch.nn.Linear(1, 1), address),
    lambda address: BaseModule(init_cfg=dict(
        type='Pretrained', checkpoint=address)).init_weights()])
def test_code_is_refused(evil, address, monkeypatch, read, forced):
    path, marker = evil
    if forced:  # a user's habit, for other projects' files
        monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
    with (pytest.raises(ValueError, match='refused') as refusal,
          loading_weights_only()):
        read(address(path))
    assert address(path) in str(refusal.value)
    assert 'exec' in str(refusal.value)
    assert not marker.exists()
    assert ('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD' in os.environ) is forced
    assert 'TORCH_FORCE_WEIGHTS_ONLY_LOAD' not in os.environ


def test_weights_are_loaded(address, tmp_path):
    path, weights = tmp_path / 'good.pth', dict(weight=torch.rand(2, 3))
    torch.save(dict(state_dict=weights), path)
    with loading_weights_only():
        found = CheckpointLoader.load_checkpoint(address(path), map_location='cpu')
    assert torch.equal(found['state_dict']['weight'], weights['weight'])


def test_other_schemes_download_as_safely(tmp_path, monkeypatch, evil):
    """torchvision://, open-mmlab:// and mmcls:// look an address up."""
    from mmengine.runner import checkpoint
    path, marker = evil
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    with served(tmp_path) as server:
        monkeypatch.setattr(checkpoint, 'get_external_models',
                            lambda: dict(net=f'{server}/{path.name}'))
        with pytest.raises(ValueError, match='exec'), loading_weights_only():
            CheckpointLoader.load_checkpoint('open-mmlab://net')
    assert not marker.exists()


@pytest.mark.parametrize(('name', 'kind'), [
    ('no.pth', FileNotFoundError), ('text.pth', ValueError)])
def test_what_is_no_checkpoint_is_named(tmp_path, name, kind):
    (tmp_path / 'text.pth').write_text('404: not found')
    with pytest.raises(kind, match=name), loading_weights_only():
        CheckpointLoader.load_checkpoint(str(tmp_path / name))


def test_other_errors_stay():
    with pytest.raises(KeyError), loading_weights_only():
        dict()['a']

"""What mmengine loads for a training, a test or ``init_cfg``: tensors alone."""
import contextlib
import functools
import http.server
import threading

import pytest
import torch
from mmengine.model import BaseModule
from mmengine.runner import CheckpointLoader, load_checkpoint

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
def test_code_is_refused(evil, address, monkeypatch, forced):
    path, marker = evil
    if forced:  # a user's habit, for other projects' files
        monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
    with pytest.raises(ValueError, match=(
            f'{address(path)} does not hold weights alone: loading it would run '
            'exec, which is refused')):
        CheckpointLoader.load_checkpoint(address(path))
    with pytest.raises(ValueError, match='which is refused'):
        load_checkpoint(torch.nn.Linear(1, 1), address(path))
    with pytest.raises(ValueError, match='which is refused'):
        BaseModule(init_cfg=dict(
            type='Pretrained', checkpoint=address(path))).init_weights()
    assert not marker.exists()


def test_weights_are_loaded(address, tmp_path):
    path, weights = tmp_path / 'good.pth', dict(weight=torch.rand(2, 3))
    torch.save(dict(state_dict=weights), path)
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
        with pytest.raises(Exception, match='exec'):
            CheckpointLoader.load_checkpoint('open-mmlab://net')
    assert not marker.exists()


def test_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    torch.save({'a': torch.ones(1)}, tmp_path / 'x.pth')
    assert CheckpointLoader.load_checkpoint('~/x.pth')['a'] == 1


def test_what_is_no_checkpoint(tmp_path):
    with pytest.raises(FileNotFoundError, match='no checkpoint file'):
        CheckpointLoader.load_checkpoint(str(tmp_path / 'no.pth'))
    (tmp_path / 'text.pth').write_text('404: not found')
    with pytest.raises(ValueError, match='cannot be read as a PyTorch checkpoint'):
        CheckpointLoader.load_checkpoint(str(tmp_path / 'text.pth'))

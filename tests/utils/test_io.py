"""Files are written whole or not at all; others' are read without running them."""
import functools
import hashlib
import http.server
import os
import pickle
import threading
from collections import OrderedDict

import numpy as np
import pytest
import torch
from mmengine.model import BaseModule
from mmengine.runner import CheckpointLoader, load_checkpoint

from cosam_mm.utils.io import (
    loading_weights_only,
    read_arrays,
    read_checkpoint,
    regular_size,
    remove_partial_files,
    sha256_of_file,
    unwrap_state_dict,
    write_arrays,
    write_checkpoint,
    write_text,
    writing,
)
from projects.fault_injection.hostile_files import (
    write_checkpoint as write_hostile_checkpoint,
)
from projects.fault_injection.hostile_files import write_pickle
from tests.hostile_records import assert_is_dangerous

# -- reading -----------------------------------------------------------------


@pytest.mark.parametrize('write', [
    write_hostile_checkpoint, write_pickle,
    lambda path, marker: write_hostile_checkpoint(path, marker, zipped=False)])
def test_no_code_of_a_file_runs(tmp_path, write):
    marker, path = tmp_path / 'marker', tmp_path / 'evil.pth'
    write(path, marker)
    if write is not write_pickle:
        assert_is_dangerous(path, marker)
    with pytest.raises(ValueError, match=r'evil\.pth') as error:
        read_checkpoint(path)
    assert 'weights_only' not in str(error.value)  # torch's advice to switch it off
    with pytest.raises(ValueError, match=r'evil\.pth'):
        read_checkpoint(path, mmap=True)
    assert not marker.exists()


def test_a_whole_pickled_model_is_refused(tmp_path):
    torch.save(torch.nn.Linear(1, 1), tmp_path / 'model.pt')
    with pytest.raises(ValueError, match=r'linear\.Linear'):
        read_checkpoint(tmp_path / 'model.pt')


@pytest.mark.parametrize('mmap', [True, False])
@pytest.mark.parametrize('zipped', [True, False])
def test_a_training_checkpoint_is_read(tmp_path, zipped, mmap):
    weight = torch.rand(2, 2)
    torch.save(dict(state_dict=dict(weight=weight), best_loss=0.25), tmp_path / 'a.tar',
               _use_new_zipfile_serialization=zipped)
    checkpoint = read_checkpoint(tmp_path / 'a.tar', mmap=mmap)
    assert checkpoint['best_loss'] == 0.25
    assert torch.equal(checkpoint['state_dict']['weight'], weight)


@pytest.mark.parametrize('core', ['core', '_core'])
@pytest.mark.parametrize('number', [np.float32(0.5), np.float64(0.5), np.int64(3)])
def test_numbers_of_numpy_1_and_2_are_read(tmp_path, number, core):
    path = tmp_path / 'a.pth'
    torch.save({'best_prec1': number}, path, _use_new_zipfile_serialization=False)
    there = f'cnumpy.{core}.multiarray\n'.encode()
    data = path.read_bytes()
    for name in (b'core', b'_core'):
        data = data.replace(b'cnumpy.%b.multiarray\n' % name, there)
    assert there in data
    path.write_bytes(data)
    assert read_checkpoint(path)['best_prec1'] == number


@pytest.mark.parametrize('content', [
    b'', b'not a checkpoint', b'\x80\x02', b'PK\x03\x04', None])
def test_a_broken_file_is_named(tmp_path, content):
    path = tmp_path / 'broken.pth'
    with pytest.raises(FileNotFoundError, match=r'broken\.pth'):
        read_checkpoint(path)
    torch.save({'weight': torch.zeros(1000)}, path)
    path.write_bytes(path.read_bytes()[:2000] if content is None else content)
    for mmap in (False, True):
        with pytest.raises(ValueError, match=r'broken\.pth'):
            read_checkpoint(path, mmap=mmap)


@pytest.mark.parametrize(('make', 'what'), [
    (lambda path: os.mkfifo(path), 'pipe'), (lambda path: path.mkdir(), 'folder'),
    (lambda path: path.touch(), 'empty'), (lambda path: path.write_bytes(b'abc'), '3'),
    (lambda path: path.symlink_to('/dev/zero'), 'device'),
    (lambda path: None, 'No such')])
def test_only_regular_files_have_a_size(tmp_path, make, what):
    path = tmp_path / 'x'
    make(path)
    with pytest.raises(OSError, match=what):
        regular_size(path, most=2)


def test_size_and_hash(tmp_path):
    content = os.urandom(3 << 20)  # of more than one block
    (tmp_path / 'x').write_bytes(content)
    assert regular_size(tmp_path / 'x') == 3 << 20
    assert sha256_of_file(tmp_path / 'x') == hashlib.sha256(content).hexdigest()
    with pytest.raises(OSError, match='null'):
        regular_size('a\0b')


# -- the state dict inside ---------------------------------------------------


@pytest.mark.parametrize(('checkpoint', 'names'), [
    ({'a.weight': torch.ones(1)}, ['a.weight']),
    (OrderedDict({'module.a.weight': torch.ones(1)}), ['a.weight']),
    ({'state_dict': {'a.weight': torch.nn.Parameter(torch.ones(1))}, 'epoch': 1},
     ['a.weight']),
    ({'state_dict': {'module.a': torch.ones(1)}, 'arch': 'x'}, ['a']),
    ({'module.a': torch.ones(1), 'b': torch.ones(1)}, ['module.a', 'b'])])
def test_the_state_dict_is_found(checkpoint, names):
    assert list(unwrap_state_dict(checkpoint)) == names


@pytest.mark.parametrize(('checkpoint', 'message'), [
    ([torch.ones(1)], 'list'), (torch.ones(1), 'Tensor'),
    ({'state_dict': None}, 'NoneType'), ({}, 'no entries'),
    ({'epoch': 1, 'net': {}}, r'epoch \(int\), net \(dict\)'),
    ({0: torch.ones(1)}, r'0 \(Tensor\)'),
])
def test_no_state_dict(checkpoint, message):
    with pytest.raises(ValueError, match=message):
        unwrap_state_dict(checkpoint)


# -- writing -----------------------------------------------------------------


def test_a_file_is_flushed_then_renamed_then_the_folder_flushed(tmp_path, monkeypatch):
    order = []
    for name in ('fsync', 'replace'):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *args, name=name, real=real: (
            order.append(name), real(*args)))
    write_text(tmp_path / 'a' / 'b.txt', 'text')
    assert order == ['fsync', 'replace', 'fsync']
    assert (tmp_path / 'a' / 'b.txt').read_text() == 'text'


@pytest.mark.parametrize('where', ['fsync', 'replace'])
def test_a_failed_write_leaves_the_old_file_alone(tmp_path, monkeypatch, where):
    path = tmp_path / 'a.txt'
    write_text(path, 'old')

    def refuse(*args):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, where, refuse)
    with pytest.raises(OSError, match='No space'):
        write_text(path, 'new')
    assert path.read_text() == 'old'
    assert os.listdir(tmp_path) == ['a.txt']


def test_what_a_killed_process_left_is_removed(tmp_path):
    with writing(tmp_path / 'a.txt') as partial:
        partial.write_text('half')
        name = partial.name
        assert partial.parent == tmp_path
        assert not list(tmp_path.glob('*.txt'))
    (tmp_path / name).write_text('half')
    assert remove_partial_files(tmp_path) == [name]
    assert os.listdir(tmp_path) == ['a.txt']


@pytest.mark.parametrize('compress', [True, False])
def test_arrays(tmp_path, compress):
    arrays = dict(a=np.arange(6.).reshape(2, 3), names=np.array(['x', 'yz']))
    write_arrays(tmp_path / 'new' / 'a.npz', arrays, compress)
    found = read_arrays(tmp_path / 'new' / 'a.npz')
    assert list(found) == ['a', 'names']
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)


def test_arrays_of_objects_and_other_files_are_refused(tmp_path):
    path = tmp_path / 'a.npz'
    with pytest.raises(FileNotFoundError, match='score file'):
        read_arrays(path, 'score file')
    np.savez(path, a=np.array([{}], dtype=object))
    for content in (path.read_bytes(), b'', b'no archive', b'PK\x03\x04'):
        path.write_bytes(content)
        with pytest.raises(ValueError, match='score file'):
            read_arrays(path, 'score file')


def test_a_checkpoint_is_replaced_on_request_only(tmp_path):
    path = tmp_path / 'a' / 'c.pth'
    write_checkpoint(path, {'epoch': 1})
    with pytest.raises(FileExistsError, match='overwrite'):
        write_checkpoint(path, {'epoch': 2})
    with pytest.raises((AttributeError, pickle.PicklingError)):
        write_checkpoint(path, {'epoch': lambda: 2}, overwrite=True)
    assert read_checkpoint(path) == {'epoch': 1}
    write_checkpoint(path, {'epoch': 2}, overwrite=True)
    assert read_checkpoint(path) == {'epoch': 2}
    assert os.listdir(path.parent) == ['c.pth']
    with pytest.raises(FileExistsError, match='folder'):
        write_checkpoint(path.parent, {}, overwrite=True)
    with pytest.raises(ValueError, match='no folder'):
        write_checkpoint(path / 'in a file.pth', {})
    write_checkpoint(tmp_path / 'other name', {'epoch': 2})
    assert path.read_bytes() == (tmp_path / 'other name').read_bytes()


# -- what mmengine loads within loading_weights_only ----------------------------------


class Quiet(http.server.SimpleHTTPRequestHandler):

    def log_message(self, *args):
        pass


@pytest.fixture(params=['file', 'address'])
def address(request, tmp_path, monkeypatch):
    """Turns a file in tmp_path into what names it: its path, or that on a server."""
    if request.param == 'file':
        yield str
        return
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    handler = functools.partial(Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        yield lambda path: f'http://127.0.0.1:{server.server_address[1]}/{path.name}'
        server.shutdown()
        thread.join()


@pytest.mark.parametrize('zipped', [True, False])
@pytest.mark.parametrize(('read', 'forced'), [
    (CheckpointLoader.load_checkpoint, False), (CheckpointLoader.load_checkpoint, True),
    (lambda address: load_checkpoint(torch.nn.Linear(1, 1), address), False),
    (lambda address: BaseModule(init_cfg=dict(
        type='Pretrained', checkpoint=address)).init_weights(), True)])
def test_code_is_refused(tmp_path, address, monkeypatch, read, forced, zipped):
    path, marker = tmp_path / 'evil.pth', tmp_path / 'marker'
    write_hostile_checkpoint(path, marker, zipped)
    assert_is_dangerous(path, marker)
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


def test_weights_are_loaded_by_mmengine(address, tmp_path):
    path, weights = tmp_path / 'good.pth', dict(weight=torch.rand(2, 3))
    torch.save(dict(state_dict=weights), path)
    with loading_weights_only():
        found = CheckpointLoader.load_checkpoint(address(path), map_location='cpu')
    assert torch.equal(found['state_dict']['weight'], weights['weight'])


@pytest.mark.parametrize(('name', 'kind'), [
    ('no.pth', FileNotFoundError), ('text.pth', ValueError)])
def test_what_is_no_checkpoint_is_named(tmp_path, name, kind):
    (tmp_path / 'text.pth').write_text('404: not found')
    with pytest.raises(kind, match=name), loading_weights_only():
        CheckpointLoader.load_checkpoint(str(tmp_path / name))
    with pytest.raises(KeyError), loading_weights_only():  # others stay
        dict()['a']

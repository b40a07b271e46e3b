"""Files are written whole or not at all; others' are read without running them."""
import hashlib
import os
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

from cosam_mm.utils.io import (
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
from tests.hostile_files import assert_is_dangerous, write_pickle
from tests.hostile_files import write_checkpoint as write_hostile_checkpoint

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
    with pytest.raises(ValueError, match=r'torch\.nn\.modules\.linear\.Linear'):
        read_checkpoint(tmp_path / 'model.pt')


@pytest.mark.parametrize('zipped', [True, False])
def test_a_training_checkpoint_is_read(tmp_path, zipped):
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    torch.save({'epoch': 3, 'arch': 'net', 'state_dict': model.state_dict(),
                'best_prec1': torch.tensor(12.5), 'best_loss': 0.25,
                'optimizer': optimizer.state_dict()}, tmp_path / 'a.pth.tar',
               _use_new_zipfile_serialization=zipped)
    checkpoint = read_checkpoint(tmp_path / 'a.pth.tar')
    assert checkpoint['best_loss'] == 0.25
    assert checkpoint['best_prec1'] == 12.5
    assert torch.equal(checkpoint['state_dict']['weight'], model.weight)


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


def test_what_others_allowed_stays_allowed(tmp_path):
    before = torch.serialization.get_safe_globals()
    torch.save({}, tmp_path / 'a.pth')
    read_checkpoint(tmp_path / 'a.pth')
    assert set(torch.serialization.get_safe_globals()) == set(before)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'nothing\.pth'):
        read_checkpoint(tmp_path / 'nothing.pth')


@pytest.mark.parametrize('content', [
    b'', b'not a checkpoint', b'\x80\x02', b'PK\x03\x04', None])
def test_a_broken_file_is_named(tmp_path, content):
    path = tmp_path / 'broken.pth'
    torch.save({'weight': torch.zeros(1000)}, path)
    path.write_bytes(path.read_bytes()[:2000] if content is None else content)
    for mmap in (False, True):
        with pytest.raises(ValueError, match=r'broken\.pth cannot be read'):
            read_checkpoint(path, mmap=mmap)


@pytest.mark.parametrize('zipped', [True, False])
def test_tensors_may_stay_on_the_disk(tmp_path, zipped):
    path, weight = tmp_path / 'a.pth', torch.rand(3, 4)
    torch.save(dict(a=weight), path, _use_new_zipfile_serialization=zipped)
    assert torch.equal(read_checkpoint(path, mmap=True)['a'], weight)


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


def test_size(tmp_path):
    (tmp_path / 'x').write_bytes(b'abc')
    assert regular_size(tmp_path / 'x') == 3
    with pytest.raises(OSError, match='null'):
        regular_size('a\0b')


# -- the state dict inside ---------------------------------------------------


@pytest.mark.parametrize('checkpoint', [
    {'a.weight': torch.ones(1)},
    OrderedDict({'module.a.weight': torch.ones(1)}),
    {'state_dict': {'a.weight': torch.ones(1)}, 'epoch': 1},
    {'state_dict': OrderedDict({'module.a.weight': torch.ones(1)}), 'arch': 'x'},
    {'state_dict': {'a.weight': torch.nn.Parameter(torch.ones(1))}},
])
def test_the_state_dict_is_found(checkpoint):
    assert list(unwrap_state_dict(checkpoint)) == ['a.weight']


def test_a_module_of_that_name_keeps_it():
    state = {'module.a': torch.ones(1), 'b': torch.ones(1)}
    assert list(unwrap_state_dict(state)) == ['module.a', 'b']


@pytest.mark.parametrize(('checkpoint', 'message'), [
    ([torch.ones(1)], 'this is a list'),
    (torch.ones(1), 'this is a Tensor'),
    ({'state_dict': None}, 'this is a NoneType'),
    ({}, 'this has no entries'),
    ({'epoch': 1, 'net': {}}, r'no tensors \(2\): epoch \(int\), net \(dict\)'),
    ({0: torch.ones(1)}, r'no tensors \(1\): 0 \(Tensor\)'),
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


def test_sha256(tmp_path):
    content = os.urandom(3 << 20)
    (tmp_path / 'x').write_bytes(content)
    assert sha256_of_file(tmp_path / 'x') == hashlib.sha256(content).hexdigest()


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
    for content in (b'', b'no archive', b'PK\x03\x04'):
        path.write_bytes(content)
        with pytest.raises(ValueError, match='score file'):
            read_arrays(path, 'score file')
    np.savez(path, a=np.array([{}], dtype=object))
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


def test_a_checkpoint_does_not_depend_on_its_name(tmp_path):
    for name in 'ab':
        write_checkpoint(tmp_path / name, {'weight': torch.ones(2)})
    assert Path(tmp_path, 'a').read_bytes() == Path(tmp_path, 'b').read_bytes()

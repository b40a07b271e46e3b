"""Foreign files are read without running their code; ours are written whole."""
import os
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

from cosam_mm.models.converters import (
    read_checkpoint,
    unwrap_state_dict,
    write_checkpoint,
)


class TouchesAFile:
    """A pickle that makes a file when it is loaded in the usual way."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return exec, (f'open({self.path!r}, "w").close()',)


class RunsAShell:

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f'touch {self.path}',)


@pytest.mark.parametrize('zipped', [True, False])
@pytest.mark.parametrize('payload', [TouchesAFile, RunsAShell])
def test_no_code_of_a_file_runs(tmp_path, payload, zipped):
    trace, path = tmp_path / 'trace', tmp_path / 'evil.pth'
    torch.save({'state_dict': {'conv1.weight': torch.zeros(1)},
                'optimizer': payload(trace)}, path,
               _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=(
            'does not hold weights alone: loading it would run '
            r'(\w+\.)?(exec|system), which is refused')) as error:
        read_checkpoint(path)
    assert not trace.exists()
    assert 'weights_only=False' not in str(error.value)
    torch.load(path, weights_only=False)  # the trap works
    assert trace.exists()


def test_a_plain_malicious_pickle_does_not_run(tmp_path):
    trace, path = tmp_path / 'trace', tmp_path / 'evil.pkl'
    path.write_bytes(pickle.dumps(TouchesAFile(trace), protocol=2))
    with pytest.raises(ValueError, match=r'evil\.pkl'):
        read_checkpoint(path)
    assert not trace.exists()


def test_a_whole_pickled_model_is_refused(tmp_path):
    torch.save(torch.nn.Linear(1, 1), tmp_path / 'model.pt')
    with pytest.raises(ValueError, match='would run torch.nn.modules.linear.Linear'):
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


@pytest.mark.skipif(torch.__version__ < '2.6',
                    reason='this torch allows no class under another name')
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
    with pytest.raises(FileNotFoundError, match=r'no checkpoint file .*nothing\.pth'):
        read_checkpoint(tmp_path / 'nothing.pth')


@pytest.mark.parametrize('content', [
    b'', b'not a checkpoint', b'\x80\x02', b'PK\x03\x04'])
def test_a_broken_file_is_named(tmp_path, content):
    path = tmp_path / 'broken.pth'
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r'broken\.pth cannot be read .*complete\?'):
        read_checkpoint(path)


def test_a_truncated_file_is_named(tmp_path):
    path = tmp_path / 'short.pth'
    torch.save({'weight': torch.zeros(1000)}, path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ValueError, match=r'short\.pth cannot be read'):
        read_checkpoint(path)


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


def test_a_folder_is_made(tmp_path):
    path = tmp_path / 'a' / 'b' / 'c.pth'
    write_checkpoint(path, {'epoch': 1})
    assert torch.load(path, weights_only=True) == {'epoch': 1}
    assert os.listdir(path.parent) == ['c.pth']


def test_a_file_is_replaced_on_request_only(tmp_path):
    path = tmp_path / 'c.pth'
    write_checkpoint(path, {'epoch': 1})
    with pytest.raises(FileExistsError, match=r'c\.pth exists; --overwrite'):
        write_checkpoint(path, {'epoch': 2})
    assert torch.load(path, weights_only=True) == {'epoch': 1}
    write_checkpoint(path, {'epoch': 2}, overwrite=True)
    assert torch.load(path, weights_only=True) == {'epoch': 2}


def test_a_folder_is_never_replaced(tmp_path):
    with pytest.raises(FileExistsError, match='is a folder; name a file'):
        write_checkpoint(tmp_path, {}, overwrite=True)


def test_a_failed_write_leaves_the_old_file_alone(tmp_path):
    path = tmp_path / 'c.pth'
    write_checkpoint(path, {'epoch': 1})
    with pytest.raises((AttributeError, pickle.PicklingError)):
        write_checkpoint(path, {'epoch': lambda: 2}, overwrite=True)
    assert os.listdir(tmp_path) == ['c.pth']
    assert torch.load(Path(path), weights_only=True) == {'epoch': 1}

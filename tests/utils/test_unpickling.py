"""What a checkpoint holds besides tensors is built with checks, and by us alone."""
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer

from cosam_mm.utils.io import read_checkpoint
from cosam_mm.utils.unpickling import checked_classes


class Calls:
    """Pickled as a call of a function, and a state for what it gives."""

    def __init__(self, function, *arguments, state=None):
        self.parts = function, arguments, state

    def __reduce__(self):
        return self.parts if self.parts[2] is not None else self.parts[:2]


def reconstruct(*arguments, **options):
    """A call of the function that numpy's arrays are pickled with."""
    return Calls(np.zeros(1).__reduce__()[0], *arguments, **options)


def dtype(kind, *, names=None, fields=None, size=-1, flags=0):
    return Calls(np.dtype, kind, False, True,
                 state=(3, '<', None, names, fields, size, -1, flags))


def array(kind, shape, data):
    return reconstruct(np.ndarray, (0,), b'b', state=(1, shape, kind, False, data))


# A float that is said to have a field, an object, whose address is in the numbers.
POINTER = array(dtype('f8', names=('a',), fields={'a': (Calls(np.dtype, 'O'), 0)},
                      flags=0), (1,), b'AAAA\0\0\0\0')
LOAD = """
import sys, torch, numpy as np
core = np._core.multiarray if hasattr(np, '_core') else np.core.multiarray
torch.serialization.add_safe_globals(
    [np.ndarray, np.dtype, type(np.dtype('f8')), core._reconstruct])
print(torch.load(sys.argv[1], weights_only=True)['a']['a'][0])
"""


def test_arrays_do_not_reach_into_memory(tmp_path):
    path = tmp_path / 'evil.pth'
    torch.save(dict(a=POINTER), path)
    without = subprocess.run([sys.executable, '-c', LOAD, path])
    assert without.returncode < 0  # a signal: it is dangerous
    with pytest.raises(ValueError, match='trust'):
        read_checkpoint(path)


@pytest.mark.parametrize('content', [
    array(Calls(np.dtype, 'O'), (1,), b'AAAAAAAA'), array(dtype('f8'), (2,), b'A' * 8),
    array(dtype('f8'), (-1, -1), b'A' * 8), array(dtype('f8'), (10 ** 12,), b''),
    array(dtype('f8', size=1), (8,), b'A' * 8), array('f8', (1,), b'A' * 8),
    array(dtype('U1'), (1,), b'AAAA'), array(dtype('f8'), (1,), [1.]),
    reconstruct(np.ndarray, (9,), 'f8'), reconstruct(torch.Tensor, (0,), b'b'),
    Calls(np.ndarray, (10 ** 12,)),
    Calls(np.float64(1).__reduce__()[0], dtype('f8'), b'A'),
    Calls(getattr, HistoryBuffer, '__init__'), Calls(getattr, np.ndarray, 'tofile')])
def test_what_numpy_would_not_write_is_refused(tmp_path, content):
    torch.save(dict(a=content), tmp_path / 'a.pth')
    with pytest.raises(ValueError, match=r'a\.pth'):
        read_checkpoint(tmp_path / 'a.pth')


@pytest.mark.parametrize('core', ['core', '_core'])
@pytest.mark.parametrize('value', [
    np.arange(6.).reshape(2, 3), np.asfortranarray(np.arange(6).reshape(2, 3)),
    np.array([True, False]), np.arange(3, dtype='>i4'), np.float16([[1]]),
    np.array(2.5)])
def test_arrays_of_numpy_1_and_2_are_read(tmp_path, value, core):
    path = tmp_path / 'a.pth'
    torch.save(dict(a=value), path, _use_new_zipfile_serialization=False)
    data = path.read_bytes()
    for name in (b'core', b'_core'):
        data = data.replace(b'cnumpy.%b.multiarray\n' % name,
                            b'cnumpy.%b.multiarray\n' % core.encode())
    path.write_bytes(data)
    found = read_checkpoint(path)['a']
    np.testing.assert_array_equal(found, value)
    assert (found.dtype, found.shape) == (value.dtype.newbyteorder('='), value.shape)
    assert type(pickle.loads(pickle.dumps(found))) is np.ndarray


def test_a_history_changes_no_other(tmp_path):
    own, evil = HistoryBuffer([1, 2], [1, 1]), HistoryBuffer([3, 4], [1, 1])
    methods = dict(HistoryBuffer._statistics_methods)
    state = dict(vars(evil), statistics_methods=dict(mean=HistoryBuffer.max),
                 max_length=10)
    for name, content in dict(a=own, b=Calls(HistoryBuffer, state=state)).items():
        torch.save({name: content}, tmp_path / name)
    found = read_checkpoint(tmp_path / 'a')['a']
    assert type(found) is HistoryBuffer
    assert (found.mean(), found.statistics('max'), found.max_length) == (
        1.5, 2, own.max_length)
    evil = read_checkpoint(tmp_path / 'b')['b']
    assert (evil.max_length, evil.statistics('mean'), own.statistics('mean')) == (
        10, 3.5, 1.5)
    assert HistoryBuffer._statistics_methods == methods


def test_only_our_own_reading_is_wider(tmp_path):
    torch.save(dict(a=np.zeros(2)), tmp_path / 'a.pth')
    before = list(map(str, torch.serialization.get_safe_globals()))
    with checked_classes():
        read_checkpoint(tmp_path / 'a.pth')
        torch.load(tmp_path / 'a.pth', weights_only=True)  # still
    assert list(map(str, torch.serialization.get_safe_globals())) == before
    with pytest.raises(pickle.UnpicklingError, match='reconstruct'):
        torch.load(tmp_path / 'a.pth', weights_only=True)

"""Matrices out of .mat files: plain ones pass, everything else is named and refused."""
import os

import numpy as np
import pytest
from scipy.io import savemat

from cosam_mm.datasets.reid.matfile import read_integer_matrix

MATRIX = np.array([[1, 2, -3], [4, 5, 6]])


@pytest.mark.parametrize('dtype', [np.float64, np.int32, np.int16, np.float32])
@pytest.mark.parametrize('options', [{}, dict(format='4'), dict(do_compression=True)])
def test_plain_matrix(tmp_path, dtype, options):
    path = str(tmp_path / 'a.mat')
    savemat(path, {'m': MATRIX.astype(dtype)}, **options)
    read = read_integer_matrix(path, 'm', num_columns=3)
    assert read.dtype == np.int64
    np.testing.assert_array_equal(read, MATRIX)


def test_name_of_the_variable(tmp_path):
    """It counts where there are several variables, of any kinds."""
    path = str(tmp_path / 'a.mat')
    savemat(path, {'other': MATRIX})
    np.testing.assert_array_equal(read_integer_matrix(path, 'm'), MATRIX)
    others = {'cells': np.array([1, 'x'], object), 's': {'a': 1}}
    savemat(path, {**others, 'm': MATRIX > 0})
    np.testing.assert_array_equal(read_integer_matrix(path, 'm'), MATRIX > 0)
    savemat(path, others)
    with pytest.raises(ValueError, match='cells'):
        read_integer_matrix(path, 'm')


@pytest.mark.parametrize(('value', 'match'), [
    (np.array([1, 'x'], object), "'m' is a cell"),
    ({'a': 1}, "'m' is a struct"),
    ('text', "'m' is a char"),
    (np.zeros((2, 2, 2)), r"'m' has shape \(2, 2, 2\)"),
    (np.zeros((0, 4)), r"'m' has shape \(0, 4\)"),
    (MATRIX + 0.5, 'not whole'),
    (np.array([[np.nan, 1, 2]]), 'not whole'),
    (MATRIX + 1j, 'a matrix of complex'),
    (MATRIX.T, 'the matrix is 3 x 2')])
def test_refused(tmp_path, value, match):
    path = str(tmp_path / 'a.mat')
    savemat(path, {'m': value})
    with pytest.raises(ValueError, match=rf'a\.mat.*{match}'):
        read_integer_matrix(path, 'm', num_columns=3)


@pytest.mark.parametrize('data', [
    b'', b'hello', b'MATLAB 7.3 MAT-file'.ljust(124) + b'\x00\x02IM' + bytes(400),
    b'MATLAB 5.0 MAT-file'.ljust(124) + b'\x00\x01IM' + bytes(range(256)) * 4,
    b'MATLAB 5.0 MAT-file'.ljust(124) + b'\x00\x01IM\x01\0\0\0\x08\0\0\0' + bytes(8)],
    ids=['empty', 'text', 'hdf5', 'garbage', 'bytes'])
def test_no_mat_file(tmp_path, data):
    path = tmp_path / 'a.mat'
    path.write_bytes(data)
    with pytest.raises(ValueError, match='MATLAB'):
        read_integer_matrix(str(path), 'm')


def test_values_of_no_type(tmp_path):
    """scipy dies of them, which is why a process of its own reads them here."""
    path = tmp_path / 'a.mat'
    savemat(path, dict(x=np.arange(40.).reshape(10, 4)))
    data = bytearray(path.read_bytes())
    start = data.index((9).to_bytes(4, 'little') + (320).to_bytes(4, 'little'))
    data[start:] = bytes(len(data) - start)
    path.write_bytes(data)
    process = os.fork()
    if process == 0:
        try:
            read_integer_matrix(str(path), 'x')
        except ValueError as error:
            os._exit(0 if 'a.mat' in str(error) and 'type 0' in str(error) else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0

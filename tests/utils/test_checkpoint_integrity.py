"""Damaged checkpoints and those that claim more than they hold are not read."""
import resource
import subprocess
import zipfile

import pytest
import torch
from mmengine.runner import CheckpointLoader

from cosam_mm.utils.checkpoint_integrity import check_checkpoint, describe_damage
from cosam_mm.utils.io import loading_weights_only, read_checkpoint, write_checkpoint
from projects.fault_injection.hostile_files import flip_a_bit
from tests.hostile_records import Tensor, write_records


@pytest.fixture
def path(tmp_path):
    path = tmp_path / 'epoch_1.pth'
    torch.save(dict(meta={}, state_dict=dict(weight=torch.zeros(64, 64))), path)
    return path


def test_damage_is_described(path):
    assert describe_damage(path) is None
    whole = path.read_bytes()
    assert 'checksum' in describe_damage(flip_a_bit(path))
    for content in (b'', b'PK', whole[:-200], b'no checkpoint at all' * 100):
        path.write_bytes(content)
        assert 'no checkpoint' in describe_damage(path)
    path.unlink()
    assert 'no such file' in describe_damage(path)


def test_torch_does_not_look(path):
    assert torch.load(flip_a_bit(path))['state_dict']['weight'].count_nonzero() == 1


def test_a_damaged_file_is_read_only_if_someone_insists(path, monkeypatch):
    flip_a_bit(path)
    with pytest.raises(ValueError, match='--no-verify'):
        read_checkpoint(path)
    monkeypatch.setenv('COSAM_MM_NO_VERIFY', '1')
    with pytest.warns(UserWarning, match='checksum'):
        assert read_checkpoint(path)['state_dict']['weight'].count_nonzero() == 1


@pytest.mark.parametrize('zipped', [True, False])
def test_the_list_of_sha256sum_counts(path, zipped):
    torch.save(torch.load(path), path, _use_new_zipfile_serialization=zipped)
    other = path.with_name('other.pth')
    other.write_bytes(path.read_bytes())
    listed = subprocess.run(['sha256sum', path.name, 'other.pth'], cwd=path.parent,
                            capture_output=True, check=True).stdout
    path.with_name('checkpoints.sha256').write_bytes(listed)
    read_checkpoint(path)
    torch.save(dict(another=1), path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match='checkpoints.sha256'):
        read_checkpoint(path)
    read_checkpoint(other)
    write_checkpoint(path, dict(another=2), overwrite=True)
    read_checkpoint(path)
    subprocess.run(['sha256sum', '--check', '--strict', 'checkpoints.sha256'],
                   cwd=path.parent, check=True)


# -- claims --------------------------------------------------------------------


@pytest.fixture
def little_memory():
    """Three gigabytes of addresses more than there are in use."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    with open('/proc/self/statm') as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (3 << 30), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


TOO_LARGE = {
    'steps of 0': (Tensor(4, (10 ** 12,), (0,)), bytes(16)),
    'storage': (Tensor(10 ** 12, (10 ** 12,), (1,)), bytes(16)),
    'tensor': (Tensor(4, (10 ** 6,), (1,)), bytes(16)),
    'beyond': (Tensor(4, (4,), (1,), 10 ** 9), bytes(16)),
    'before': (Tensor(4, (4,), (1,), -9), bytes(16)),
    'negative': (Tensor(-4, (4,), (1,)), bytes(16)),
    'many of them': ([[Tensor(4, (10 ** 12,), (0,))]] * 3, bytes(16))}


@pytest.mark.parametrize('mmap', [False, True])
@pytest.mark.parametrize('what', TOO_LARGE)
def test_tensors_hold_what_they_claim(tmp_path, little_memory, what, mmap):
    content, data = TOO_LARGE[what]
    path = write_records(tmp_path / 'a.pth', dict(state_dict=dict(a=content)),
                         {'data/0': data})
    with pytest.raises(ValueError, match=r'a\.pth'):
        read_checkpoint(path, mmap=mmap)


@pytest.mark.parametrize('read', [
    read_checkpoint, lambda path: read_checkpoint(path, mmap=True), check_checkpoint])
@pytest.mark.parametrize('how', ['inflates', 'claims', 'overlaps'])
def test_parts_hold_what_they_claim(tmp_path, monkeypatch, little_memory, read, how):
    monkeypatch.setenv('COSAM_MM_NO_VERIFY', '1')  # which does not go so far
    path, data = tmp_path / 'a.pth', bytes(8 << 20)
    write_records(path, dict(a=Tensor(len(data) // 4, (2,), (1,))), {'data/0': data},
                  zipfile.ZIP_DEFLATED if how == 'inflates' else zipfile.ZIP_STORED)
    content = path.read_bytes()
    size = len(data).to_bytes(4, 'little')
    if how == 'claims':  # 4 GB, in the directory at the end
        start, _, end = content.rpartition(size)
        path.write_bytes(start + b'\xfe\xff\xff\xff' + end)
    elif how == 'overlaps':  # the same part by several names
        with zipfile.ZipFile(path, 'a') as archive:
            info = archive.getinfo('archive/data/0')
            archive.filelist += [info] * 9
            archive._didModify = True
    assert path.stat().st_size < len(data) + (1 << 20)
    with pytest.raises(ValueError, match='claims'):
        read(path)


def test_claims_of_the_old_format(tmp_path, little_memory):
    path = tmp_path / 'a.pth'
    torch.save(dict(a=torch.zeros(1000)), path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    for found in (b'M\xe8\x03', (1000).to_bytes(8, 'little')):  # BININT2; its record
        assert content.count(found)
    path.write_bytes(content.replace(b'M\xe8\x03', b'J\xff\xff\xff\x7f'))
    with pytest.raises(ValueError, match=r'a\.pth'):
        read_checkpoint(path)
    path.write_bytes(content[:-4100] + (10 ** 12).to_bytes(8, 'little') + bytes(4000))
    with pytest.raises(ValueError, match=r'a\.pth'):
        read_checkpoint(path)


def test_what_torch_writes_is_read(tmp_path):
    """Tensors that share memory, small ones that are expanded, lists of themselves."""
    shared = torch.rand(1000)
    content = dict(a=shared, b=shared[:10], c=torch.zeros(1).expand(1000), d=[])
    content['d'].append(content['d'])
    torch.save(content, tmp_path / 'a.pth')
    found = read_checkpoint(tmp_path / 'a.pth')
    assert found['a'].data_ptr() == found['b'].data_ptr()
    assert found['c'].shape == (1000,)


def test_mmengine_is_as_strict_where_it_reads(tmp_path, little_memory):
    path = write_records(tmp_path / 'a.pth', dict(a=TOO_LARGE['storage'][0]),
                         {'data/0': bytes(16)})
    with pytest.raises(ValueError, match=r'a\.pth'), loading_weights_only():
        CheckpointLoader.load_checkpoint(str(path))

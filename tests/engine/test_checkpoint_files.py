"""Checkpoint files: written whole, known to be whole, the right one found."""
import hashlib
import os
import subprocess

import pytest
import torch

from cosam_mm.engine.hooks import checkpoint_files as checkpoint_file
from cosam_mm.engine.hooks.checkpoint_files import (
    RECORD,
    describe_damage,
    find_newest,
    finish_file,
    forget,
    partial_path,
    read_record,
    remove_partial_files,
    write_text,
)


def write(path, iteration=1, value=0.):
    """A checkpoint, as the hook writes it."""
    content = dict(meta=dict(iter=iteration),
                   state_dict=dict(weight=torch.full((64, 64), value)))
    torch.save(content, partial_path(path))
    finish_file(partial_path(path), path)
    return path


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def test_record_is_what_sha256sum_checks(tmp_path):
    for name in ('epoch_1.pth', 'best acc (1).pth'):
        write(tmp_path / name)
    done = subprocess.run(['sha256sum', '--check', '--strict', RECORD], cwd=tmp_path,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ['epoch_1.pth: OK', 'best acc (1).pth: OK']
    assert {path.name for path in tmp_path.iterdir()} == {
        'epoch_1.pth', 'best acc (1).pth', RECORD}


@pytest.mark.parametrize('stop_at', [1, 2, 3])
def test_file_and_record_agree_wherever_writing_stops(tmp_path, monkeypatch, stop_at):
    """At the first rename of the record, at that of the file, at the second."""
    path = write(tmp_path / 'epoch_1.pth', value=1.)
    old = path.read_bytes()
    replace, calls = os.replace, []

    def stop(source, target):
        calls.append(target)
        if len(calls) == stop_at:
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(checkpoint_file.os, 'replace', stop)
    with pytest.raises(KeyboardInterrupt):
        write(path, value=2.)
    monkeypatch.undo()

    assert (path.read_bytes() == old) == (stop_at < 3)
    assert describe_damage(path) is None
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert digest in read_record(tmp_path)['epoch_1.pth']


def test_file_is_flushed_before_it_takes_its_name(tmp_path, monkeypatch):
    order = []
    for name in ('fsync', 'replace'):
        real = getattr(os, name)
        monkeypatch.setattr(checkpoint_file.os, name, lambda *args, n=name, r=real: (
            order.append(n if n == 'fsync' else str(args[1])[-4:]), r(*args))[1])
    write(tmp_path / 'epoch_1.pth')
    place = order.index('.pth')
    assert order[0] == 'fsync'
    assert order[place + 1] == 'fsync'  # the folder


@pytest.mark.parametrize('on_record', [True, False])
def test_a_flipped_bit_is_noticed(tmp_path, on_record):
    path = write(tmp_path / 'epoch_1.pth')
    if not on_record:  # a file of mmengine's, or one that was copied here
        (tmp_path / RECORD).unlink()
    assert describe_damage(path) is None
    flip_a_bit(path)
    damage = describe_damage(path)
    assert damage == (f'its SHA-256 is not the one in {RECORD}' if on_record else
                      'the check sum of its part epoch_1.pth/data/0 does not agree'
                      ) or 'check sum' in damage


@pytest.mark.parametrize('content', [b'', b'PK', b'no checkpoint at all' * 100])
def test_what_is_no_checkpoint(tmp_path, content):
    path = tmp_path / 'epoch_1.pth'
    assert describe_damage(path) == 'there is no such file'
    path.write_bytes(content)
    assert describe_damage(path).startswith('it is no checkpoint file (')


def test_a_truncated_file_is_noticed(tmp_path):
    path = write(tmp_path / 'epoch_1.pth')
    (tmp_path / RECORD).unlink()
    path.write_bytes(path.read_bytes()[:-200])
    assert 'it is no checkpoint file' in describe_damage(path)


def test_record_passes_over_what_it_does_not_understand(tmp_path):
    path = write(tmp_path / 'epoch_1.pth')
    record = tmp_path / RECORD
    record.write_text('nonsense\n' + record.read_text() + 'f' * 64 + ' \n')
    assert list(read_record(tmp_path)) == ['epoch_1.pth']
    assert describe_damage(path) is None
    record.write_bytes(b'\xff\xfe\x00')
    assert read_record(tmp_path) == {}
    assert describe_damage(path) is None


def test_forget(tmp_path):
    for name in ('epoch_1.pth', 'epoch_2.pth'):
        write(tmp_path / name)
    forget(tmp_path, ['epoch_1.pth', 'unknown.pth'])
    assert list(read_record(tmp_path)) == ['epoch_2.pth']


def test_partial_files_are_removed_and_never_found(tmp_path):
    write(tmp_path / 'epoch_1.pth')
    partial = partial_path(tmp_path / 'epoch_2.pth')
    partial.write_bytes(b'half')
    assert find_newest(tmp_path).path == str(tmp_path / 'epoch_1.pth')
    assert remove_partial_files(tmp_path) == [partial.name]
    assert not partial.exists()


def test_write_text_leaves_nothing_behind_when_refused(tmp_path, monkeypatch):
    path = tmp_path / 'last_checkpoint'
    write_text(path, 'old')

    def refuse(*args):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(checkpoint_file.os, 'fsync', refuse)
    with pytest.raises(OSError, match='No space left'):
        write_text(path, 'new')
    assert path.read_text() == 'old'
    assert [file.name for file in tmp_path.iterdir()] == ['last_checkpoint']


class TestFindNewest:

    @pytest.fixture
    def folder(self, tmp_path):
        """A training of eleven epochs; a name's order is not that of its number."""
        for epoch in (2, 10, 11):
            write(tmp_path / f'epoch_{epoch}.pth', iteration=5 * epoch)
        write(tmp_path / 'best_acc_epoch_12.pth', iteration=60)
        (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_11.pth'))
        return tmp_path

    def test_the_last_one_written(self, folder):
        assert find_newest(folder) == (str(folder / 'epoch_11.pth'), [])

    def test_the_word_of_last_checkpoint_counts(self, folder):
        """As after resuming from a named checkpoint, when newer ones are there."""
        (folder / 'last_checkpoint').write_text(str(folder / 'epoch_2.pth'))
        assert find_newest(folder) == (str(folder / 'epoch_2.pth'), [])

    def test_damaged_newest(self, folder):
        flip_a_bit(folder / 'epoch_11.pth')
        path, (problem,) = find_newest(folder)
        assert path == str(folder / 'epoch_10.pth')
        assert problem == (f'{folder / "epoch_11.pth"} is damaged: its SHA-256 is not '
                           f'the one in {RECORD}')

    def test_all_damaged(self, folder):
        for path in folder.glob('epoch_*.pth'):
            path.write_bytes(b'')
        path, problems = find_newest(folder)
        assert path is None
        assert len(problems) == 3

    @pytest.mark.parametrize('text', ['', '\n', '/nowhere/epoch_9.pth', '\0\0\0'])
    def test_damaged_last_checkpoint(self, folder, text):
        (folder / 'last_checkpoint').write_text(text)
        path, (problem,) = find_newest(folder)
        assert path == str(folder / 'epoch_11.pth')
        assert problem == (f'{folder / "last_checkpoint"} is missing, empty, or names '
                           'no file that is there')

    def test_moved_folder(self, folder):
        (folder / 'last_checkpoint').write_text('/elsewhere/run/epoch_10.pth')
        assert find_newest(folder) == (str(folder / 'epoch_10.pth'), [])

    def test_nothing_there(self, tmp_path):
        assert find_newest(tmp_path) == (None, [])
        assert find_newest(tmp_path / 'absent') == (None, [])

"""Checkpoint files: whether they are whole, and which one to resume from."""
import pytest
import torch

from cosam_mm.engine.hooks.checkpoint_files import (
    find_newest,
    take_gradients,
)
from cosam_mm.utils.io import write_checkpoint
from projects.fault_injection.hostile_files import flip_a_bit


def write(path, iteration=1):
    write_checkpoint(path, dict(meta=dict(iter=iteration),
                                state_dict=dict(weight=torch.zeros(64, 64))))
    return path


class TestFindNewest:

    @pytest.fixture
    def folder(self, tmp_path):
        """A training of eleven epochs; the order of names is not that of numbers."""
        for epoch in (2, 10, 11):
            write(tmp_path / f'epoch_{epoch}.pth', iteration=5 * epoch)
        write(tmp_path / 'best_acc_epoch_12.pth', iteration=60)
        (tmp_path / '.epoch_13.pth.1.partial').write_bytes(b'half')
        (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_11.pth'))
        return tmp_path

    @pytest.mark.parametrize(('text', 'epoch'), [
        ('{folder}/epoch_11.pth', 11),
        ('{folder}/epoch_2.pth', 2),  # resumed from there, and newer ones are left
        ('/elsewhere/run/epoch_10.pth', 10)])  # the folder was moved
    def test_last_checkpoint_names_it(self, folder, text, epoch):
        (folder / 'last_checkpoint').write_text(text.format(folder=folder))
        assert find_newest(folder) == (str(folder / f'epoch_{epoch}.pth'), [])

    @pytest.mark.parametrize('text', ['', '/nowhere/epoch_9.pth', '\0\0\0'])
    def test_damaged_last_checkpoint(self, folder, text):
        (folder / 'last_checkpoint').write_text(text)
        path, (problem,) = find_newest(folder)
        assert path == str(folder / 'epoch_11.pth')
        assert 'last_checkpoint' in problem

    def test_damaged_newest_then_all_damaged(self, folder):
        flip_a_bit(folder / 'epoch_11.pth')
        path, (problem,) = find_newest(folder)
        assert path == str(folder / 'epoch_10.pth')
        assert 'epoch_11.pth is damaged' in problem
        for path in folder.glob('epoch_*.pth'):
            path.write_bytes(b'')
        path, problems = find_newest(folder)
        assert path is None
        assert len(problems) == 3

    def test_nothing_there(self, tmp_path):
        assert find_newest(tmp_path) == (None, [])
        assert find_newest(tmp_path / 'absent') == (None, [])


# -- gradients that wait -----------------------------------------------------------


OF_ALL = [dict(a=torch.tensor([1., 2.])), dict(a=torch.tensor([2., 4.])),
          dict(a=torch.tensor([6., 6.]), b=torch.tensor([3.]))]


@pytest.mark.parametrize(('content', 'num_processes', 'rank', 'expected'), [
    ({}, 1, 0, {}),
    (dict(gradients_of_processes=OF_ALL), 3, 1, dict(a=[2., 4.])),
    (dict(gradients_of_processes=OF_ALL), 3, 2, dict(a=[6., 6.], b=[3.])),
    (dict(gradients_of_processes=OF_ALL), 2, 1, dict(a=[3., 4.], b=[1.])),  # the mean
    (dict(gradients_of_processes=OF_ALL[:1]), 2, 1, dict(a=[1., 2.])),
    # As written by versions that kept nothing but the mean.
    (dict(gradients=OF_ALL[0]), 1, 0, dict(a=[1., 2.])),
    (dict(gradients=OF_ALL[0]), 2, 1, dict(a=[1., 2.])),
])
def test_each_process_gets_its_own(monkeypatch, content, num_processes, rank, expected):
    monkeypatch.setattr(f'{take_gradients.__module__}.get_world_size',
                        lambda: num_processes)
    monkeypatch.setattr(f'{take_gradients.__module__}.get_rank', lambda: rank)
    checkpoint = dict(content, state_dict={})
    found = take_gradients(checkpoint)
    assert {name: gradient.tolist() for name, gradient in found.items()} == expected
    assert checkpoint == dict(state_dict={})

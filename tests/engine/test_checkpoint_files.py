"""Checkpoint files: whether they are whole, and which one to resume from."""
import pytest
import torch

from cosam_mm.engine.hooks.checkpoint_files import (
    describe_damage,
    find_newest,
    take_gradients,
)
from cosam_mm.utils.io import write_checkpoint


def write(path, iteration=1):
    write_checkpoint(path, dict(meta=dict(iter=iteration),
                                state_dict=dict(weight=torch.zeros(64, 64))))
    return path


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def test_a_flipped_bit_is_noticed(tmp_path):
    path = write(tmp_path / 'epoch_1.pth')
    assert describe_damage(path) is None
    flip_a_bit(path)
    assert 'checksum' in describe_damage(path)


@pytest.mark.parametrize('damage', [
    lambda content: b'', lambda content: b'PK', lambda content: content[:-200],
    lambda content: b'no checkpoint at all' * 100])
def test_what_is_no_checkpoint(tmp_path, damage):
    path = tmp_path / 'epoch_1.pth'
    assert 'no such file' in describe_damage(path)
    write(path)
    path.write_bytes(damage(path.read_bytes()))
    assert 'no checkpoint' in describe_damage(path)


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

    @pytest.mark.parametrize('text', ['', '\n', '/nowhere/epoch_9.pth', '\0\0\0'])
    def test_damaged_last_checkpoint(self, folder, text):
        (folder / 'last_checkpoint').write_text(text)
        path, (problem,) = find_newest(folder)
        assert path == str(folder / 'epoch_11.pth')
        assert 'last_checkpoint' in problem

    def test_damaged_newest(self, folder):
        flip_a_bit(folder / 'epoch_11.pth')
        path, (problem,) = find_newest(folder)
        assert path == str(folder / 'epoch_10.pth')
        assert 'epoch_11.pth is damaged' in problem

    def test_all_damaged(self, folder):
        for path in folder.glob('epoch_*.pth'):
            path.write_bytes(b'')
        path, problems = find_newest(folder)
        assert path is None
        assert len(problems) == 3

    def test_nothing_there(self, tmp_path):
        assert find_newest(tmp_path) == (None, [])
        assert find_newest(tmp_path / 'absent') == (None, [])


# -- gradients that wait -----------------------------------------------------------


UNEVEN = """
from types import SimpleNamespace
import torch
import torch.distributed as dist
from mmengine.optim import OptimWrapper
from cosam_mm.engine.hooks.checkpoint_files import pending_gradients

dist.init_process_group('gloo')
rank = dist.get_rank()
model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.PReLU(), torch.nn.PReLU())
model[0].weight.grad = torch.arange(6.).reshape(2, 3).t() + 10 * rank
if rank == 1:
    model[1].weight.grad = torch.tensor([7.])
wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), .1), accumulative_counts=2)
runner = SimpleNamespace(model=model, optim_wrapper=wrapper)
wrapper._inner_count = 1
kept = pending_gradients(runner)
if kept:
    model[0].weight.grad.zero_()
print([{name: gradient.tolist() for name, gradient in one.items()} for one in kept])
wrapper._inner_count = 2
assert pending_gradients(runner) == []
dist.destroy_process_group()
"""


def test_each_process_keeps_what_it_has(nest, tmp_path):
    """A layer that one process has not used has no gradient there, and none waits."""
    main, other = nest.run_pair(UNEVEN, tmp_path)
    assert (main.returncode, other.returncode) == (0, 0), main.stderr + other.stderr
    assert main.stdout == (
        "[{'0.weight': [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]}, "
        "{'0.weight': [[10.0, 13.0], [11.0, 14.0], [12.0, 15.0]], "
        "'1.weight': [7.0]}]\n")
    assert other.stdout == '[]\n'


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

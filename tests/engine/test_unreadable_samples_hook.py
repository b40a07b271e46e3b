"""Unreadable samples in trainings of a model of one number, with and without workers.
"""
import logging

import pytest
import torch
from mmengine.structures import BaseDataElement
from torch.utils.data import Dataset

from cosam_mm.datasets.unreadable_samples import (
    BLANK,
    REPLACED,
    SKIPPED,
    UnreadableSample,
    attach_notes,
    load_readable,
    note_unreadable,
    notes_of,
)
from cosam_mm.engine.hooks import UnreadableSamplesHook
from cosam_mm.engine.hooks.unreadable_samples_hook import (
    FILE_NAME,
    as_line,
    listed_samples,
)
from cosam_mm.utils.cli import is_user_mistake
from tests.small_runs import Model, loader_of, log_of, small_runner

pytestmark = pytest.mark.usefixtures('clean_up_runs')


class Clips(Dataset):
    """Some cannot be read; the sample 0 always replaces them."""

    metainfo = dict(dataset='clips', split=1)

    def __init__(self, size, bad=(), frames=()):
        self.size, self.bad, self.frames = size, set(bad), set(frames)

    def __len__(self):
        return self.size

    def _pipeline(self, item):
        if item['number'] in self.bad:
            note_unreadable(item, SKIPPED, item['name'], 'it is\tbroken')
            return None
        if item['number'] in self.frames:
            note_unreadable(item, REPLACED, f'{item["name"]}.jpg', 'gone')
        return dict(inputs=torch.ones(()), data_samples=BaseDataElement(
            metainfo=dict(sample_id=item['name'])))

    def __getitem__(self, index):
        data, _ = load_readable(
            int(index), 2, lambda number: dict(number=number, name=f'clip {number}'),
            self._pipeline, lambda: 0, 'name')
        return data


def make_runner(work_dir, dataset, workers=0, epochs=1, **hook):
    return small_runner(
        work_dir, Model(), loader_of(dataset, 4, workers), epochs,
        [dict(type='UnreadableSamplesHook', **hook)])


def test_lines():
    line = as_line(UnreadableSample('skipped', 'a\tb\n\\é\udcff', 'why'))
    assert line == 'skipped\ta\\tb\\n\\\\é\\udcff\twhy'
    assert len(line.splitlines()) == 1


def test_notes_travel_with_the_sample():
    note = UnreadableSample(BLANK, 'a', 'b')
    data = dict(data_samples=BaseDataElement())
    assert notes_of(attach_notes(data, [])['data_samples']) == []
    assert notes_of(attach_notes(data, [note])['data_samples']) == [note]
    assert attach_notes(None, [note]) is None
    assert attach_notes(dict(inputs=1), [note]) == dict(inputs=1)


def test_others_are_tried_until_one_can_be_read():
    calls = []

    def pipeline(item):
        calls.append(item['n'])
        if item['n'] == 3:  # says nothing of why
            return None
        if item['n'] < 3:
            note_unreadable(item, SKIPPED, item['n'], OSError('gone'))
            return None
        return dict(data_samples=BaseDataElement())

    def load(attempts, others):
        return load_readable(
            1, attempts, lambda n: dict(n=n), pipeline, iter(others).__next__, 'n')

    data, refused = load(5, [3, 4])
    assert (calls, refused) == ([1, 3, 4], [1, 3])
    assert notes_of(data['data_samples']) == [
        (SKIPPED, '1', 'gone'), (SKIPPED, 3, 'a transform gave None')]
    assert load(2, [2]) == (None, [1, 2])


@pytest.mark.parametrize('workers', [0, 2])
def test_each_is_listed_once(tmp_path, workers):
    dataset = Clips(20, bad=[5, 6], frames=[8])
    lines = ['skipped\tclip 5\tit is\\tbroken', 'skipped\tclip 6\tit is\\tbroken',
             'replaced\tclip 8.jpg\tgone']
    for _ in range(2):  # the second as if resumed
        make_runner(tmp_path, dataset, workers, 2, max_share=0.1).train()
        assert listed_samples(tmp_path) == lines
    make_runner(tmp_path, Clips(20, bad=[5, 9]), workers).train()
    assert listed_samples(tmp_path) == [*lines, 'skipped\tclip 9\tit is\\tbroken']


def test_a_file_of_version_0_1_is_continued(tmp_path):
    old = 'skipped\tclip 5\tgone'
    (tmp_path / 'bad_samples.txt').write_text(f'{old}\n')
    make_runner(tmp_path, Clips(20, bad=[5, 6])).train()
    new = 'skipped\tclip 6\tit is\\tbroken'
    assert (tmp_path / FILE_NAME).read_text() == f'{new}\n'
    assert listed_samples(tmp_path) == [old, new]


def test_doubled_samples_are_counted(tmp_path):
    # Batches 0-3 and 4-7: those of the first are replaced by the sample 0 beside it,
    # those of the second are two of it.
    for bad, said in (([1, 2, 5, 6], ('4 of 8 samples (train, 50.0%)',
                                      '4 time(s), 4 of them')),
                      ([5], ('1 time(s), 0 of them',))):
        runner = make_runner(tmp_path, Clips(8, bad=bad), max_share=1)
        runner.train()
        assert all(part in log_of(runner, logging.WARNING) for part in said)


def test_too_many(tmp_path):
    dataset = Clips(40, bad=range(4, 40, 4))
    with pytest.raises(RuntimeError, match='5 of 40 samples') as info:
        make_runner(tmp_path, dataset, max_share=0.1).train()
    for part in ('12.5%', '5 x it is\tbroken', 'clip 12', 'unreadable_samples.txt',
                 'custom_hooks.<i>.max_share=0.5'):
        assert part in str(info.value)
    assert is_user_mistake(info.value)
    assert len(listed_samples(tmp_path)) == 5
    make_runner(tmp_path / 'more', dataset, max_share=0.5).train()
    assert len(listed_samples(tmp_path / 'more')) == 9


def test_a_few_samples_and_any_frames_are_allowed(tmp_path):
    make_runner(tmp_path, Clips(6, bad=[1, 2, 3], frames=[4, 5]), max_share=0).train()
    assert len(listed_samples(tmp_path)) == 5
    with pytest.raises(RuntimeError, match='4 of 6 samples'):
        make_runner(tmp_path, Clips(6, bad=[1, 2, 3, 4]), max_share=0).train()


def test_folder_that_takes_no_file(tmp_path):
    (tmp_path / FILE_NAME).mkdir()
    runner = make_runner(tmp_path, Clips(20, bad=[5]))
    runner.train()
    assert 'unreadable_samples.txt could not' in log_of(runner, logging.WARNING)


@pytest.mark.parametrize(('settings', 'message'), [
    (dict(max_share=1.1), 'max_share'), (dict(max_share='5%'), 'max_share'),
    (dict(interval=0), 'interval')])
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        UnreadableSamplesHook(**settings)

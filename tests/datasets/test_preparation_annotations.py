"""Annotation files: their text, their atomicity, and the link to the videos."""
import os

import pytest

from cosam_mm.datasets.preparation.annotation_files import (
    link_videos,
    write_classes,
    write_lines,
    write_rawframe_lists,
    write_video_lists,
)
from cosam_mm.datasets.preparation.official_splits import ListedClip, SplitLists

A, B, C = (ListedClip('wave', f'{k} (1).avi', 1) for k in 'abc')
LISTS = SplitLists(
    'demo', ('clap', 'wave'), {(1, 'train'): [B, A], (1, 'val'): [C]})


def test_video_lists_hold_real_names_in_the_order_of_the_list(tmp_path):
    counts = write_video_lists(
        tmp_path, LISTS, {A: 'wave/a (1).mp4', B: 'wave/b (1).avi'})

    assert counts == {(1, 'train'): 2, (1, 'val'): 0}
    assert (tmp_path / 'demo_train_split_1_videos.txt').read_text() == (
        'wave/b (1).avi 1\nwave/a (1).mp4 1\n')
    assert (tmp_path / 'demo_val_split_1_videos.txt').read_text() == ''
    assert len(list(tmp_path.iterdir())) == 2


def test_rawframe_lists_leave_out_what_has_no_frames(tmp_path):
    found = {A: 'wave/a (1).mp4', B: 'wave/b (1).avi', C: 'wave/c (1).avi'}

    counts = write_rawframe_lists(
        tmp_path, LISTS, found, {'wave/a (1).mp4': 7, 'wave/c (1).avi': 80})

    assert counts == {(1, 'train'): 1, (1, 'val'): 1}
    assert (tmp_path / 'demo_train_split_1_rawframes.txt').read_text() == (
        'wave/a (1) 7 1\n')
    assert (tmp_path / 'demo_val_split_1_rawframes.txt').read_text() == (
        'wave/c (1) 80 1\n')


def test_class_file(tmp_path):
    path = write_classes(tmp_path, LISTS)

    assert path.name == 'demo_classes.txt'
    assert path.read_text() == 'clap\nwave\n'


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing(tmp_path):
    path = tmp_path / 'list.txt'
    write_lines(path, ['old'])

    def lines():
        yield 'new'
        raise RuntimeError('cut off')

    with pytest.raises(RuntimeError, match='cut off'):
        write_lines(path, lines())

    assert path.read_text() == 'old\n'
    assert os.listdir(tmp_path) == ['list.txt']


def test_text_is_utf8(tmp_path):
    write_lines(tmp_path / 'list.txt', ['é'])

    assert (tmp_path / 'list.txt').read_bytes() == b'\xc3\xa9\n'


def test_link_is_made_once_and_kept(tmp_path):
    videos, root = tmp_path / 'my videos', tmp_path / 'out'
    videos.mkdir()
    root.mkdir()

    link = link_videos(videos, root)
    assert link.is_symlink()
    assert link.samefile(videos)
    assert link_videos(videos, root) == link
    assert link_videos(link, root) == link


def test_no_link_where_the_folder_is_the_videos(tmp_path):
    (tmp_path / 'videos').mkdir()

    assert not link_videos(tmp_path / 'videos', tmp_path).is_symlink()


def test_something_else_is_never_replaced(tmp_path):
    videos = tmp_path / 'real'
    for name in ('real', 'out', 'other', 'linked', 'dangling'):
        (tmp_path / name).mkdir()
    (tmp_path / 'out' / 'videos').mkdir()
    (tmp_path / 'linked' / 'videos').symlink_to(tmp_path / 'other')
    (tmp_path / 'dangling' / 'videos').symlink_to(tmp_path / 'gone')

    with pytest.raises(FileExistsError, match='is there and is not .*real: move'):
        link_videos(videos, tmp_path / 'out')
    with pytest.raises(FileExistsError, match='leads to .*other, not to .*real: rem'):
        link_videos(videos, tmp_path / 'linked')
    with pytest.raises(FileExistsError, match='leads to .*gone, not to .*real: rem'):
        link_videos(videos, tmp_path / 'dangling')
    assert (tmp_path / 'linked' / 'videos').samefile(tmp_path / 'other')

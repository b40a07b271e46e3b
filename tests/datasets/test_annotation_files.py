"""Annotation lists: what is written, what is read, and what contradicts itself."""

import pytest

from cosam_mm.datasets.preparation.annotation_files import (
    link_videos,
    read_annotations,
    read_class_names,
    write_classes,
    write_lists,
)
from cosam_mm.datasets.preparation.official_splits import ListedClip, SplitLists

A, B, C = (ListedClip('wave', f'{k} (1).avi', 1) for k in 'abc')
LISTS = SplitLists(
    'demo', ('clap', 'wave'), {(1, 'train'): [B, A], (1, 'val'): [C]})


def test_video_lists_hold_real_names_in_the_order_of_the_list(tmp_path):
    counts = write_lists(
        tmp_path, LISTS, {A: 'wave/a (1).mp4', B: 'wave/b (1).avi'})

    assert counts == {(1, 'train'): 2, (1, 'val'): 0}
    assert (tmp_path / 'demo_train_split_1_videos.txt').read_text() == (
        'wave/b (1).avi 1\nwave/a (1).mp4 1\n')
    assert (tmp_path / 'demo_val_split_1_videos.txt').read_text() == ''
    assert len(list(tmp_path.iterdir())) == 2


def test_rawframe_lists_leave_out_what_has_no_frames(tmp_path):
    found = {A: 'wave/a (1).mp4', B: 'wave/b (1).avi', C: 'wave/c (1).avi'}

    counts = write_lists(
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


def test_link_is_made_once_and_kept(tmp_path):
    videos, root = tmp_path / 'videos', tmp_path / 'out'
    videos.mkdir()
    root.mkdir()

    link = link_videos(videos, root)
    assert link.is_symlink()
    assert link.samefile(videos)
    assert link_videos(videos, root) == link
    assert link_videos(link, root) == link
    assert not link_videos(videos, tmp_path).is_symlink(), 'it is that folder'


def test_something_else_is_never_replaced(tmp_path):
    videos = tmp_path / 'real'
    for name in ('real', 'out', 'other', 'linked', 'dangling'):
        (tmp_path / name).mkdir()
    (tmp_path / 'out' / 'videos').mkdir()
    (tmp_path / 'linked' / 'videos').symlink_to(tmp_path / 'other')
    (tmp_path / 'dangling' / 'videos').symlink_to(tmp_path / 'gone')

    with pytest.raises(FileExistsError, match='move'):
        link_videos(videos, tmp_path / 'out')
    with pytest.raises(FileExistsError, match='other'):
        link_videos(videos, tmp_path / 'linked')
    with pytest.raises(FileExistsError, match='gone'):
        link_videos(videos, tmp_path / 'dangling')
    assert (tmp_path / 'linked' / 'videos').samefile(tmp_path / 'other')


# Reading.

CLASSES = ('brush_hair', 'climb', 'climb_stairs', 'HandstandPushups')


def read(tmp_path, *lines, with_frames=False, classes=CLASSES):
    path = tmp_path / 'list.txt'
    path.write_text(''.join(f'{line}\n' for line in lines))
    return read_annotations(str(path), 4, with_frames, classes)


def test_folders_of_classes(tmp_path):
    entries = read(tmp_path, 'climb/a.avi 1', 'x/climb_stairs/b 1.avi 2',
                   'HandStandPushups/c.avi 3', 'elsewhere/d.avi 0', 'e.avi 2')
    assert [entry.label for entry in entries] == [1, 2, 3, 0, 2]


@pytest.mark.parametrize(('line', 'with_frames'), [
    ('climb/b.avi 2', False), ('CLIMB/b.avi 3', False), ('x/climb/b 20 0', True),
    ('climb_stairs/climb/day 2/b.avi 2', False)])
def test_folder_of_another_class(tmp_path, line, with_frames):
    first = 'climb/a 9 1' if with_frames else 'climb/a.avi 1'
    with pytest.raises(ValueError, match=f'list.txt:2: .*class 1.*{line}'):
        read(tmp_path, first, line, with_frames=with_frames)
    assert read(tmp_path, first, line, with_frames=with_frames, classes=())


def test_clip_with_two_labels(tmp_path):
    with pytest.raises(ValueError, match='list.txt:3: .*line 1.*a.avi 2'):
        read(tmp_path, 'a.avi 1', 'b.avi 2', 'a.avi 2')
    assert len(read(tmp_path, 'a.avi 1', 'a.avi 1')) == 2


@pytest.mark.parametrize('name', ['climb', 'Climb'])
def test_two_classes_of_one_name(tmp_path, name):
    path = tmp_path / 'classes.txt'
    path.write_text(f'brush_hair\nclimb\n{name}\n')
    with pytest.raises(ValueError, match=f'class 2 and class 1.*{name}'):
        read_class_names(str(path), 3)


def test_class_names_that_are_no_text(tmp_path):
    path = tmp_path / 'classes.txt'
    path.write_bytes(b'brush_hair\n\xff\xfe\n')
    with pytest.raises(ValueError, match='UTF-8'):
        read_class_names(str(path), 2)

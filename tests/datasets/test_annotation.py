"""Labels that contradict each other or the folder that a clip lies in."""
import pytest

from cosam_mm.datasets.action_annotation import read_annotations, read_class_names

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
    ('climb/b.avi 2', False), ('CLIMB/b.avi 3', False), ('x/climb/b 20 0', True)])
def test_folder_of_another_class(tmp_path, line, with_frames):
    first = 'climb/a 9 1' if with_frames else 'climb/a.avi 1'
    with pytest.raises(ValueError, match=(
            rf"list.txt:2: label \d, but the folder '\w+' is that of class 1: check "
            rf"the list and the file of class names: '{line}'")):
        read(tmp_path, first, line, with_frames=with_frames)
    assert read(tmp_path, first, line, with_frames=with_frames, classes=())


def test_clip_with_two_labels(tmp_path):
    with pytest.raises(ValueError, match=(
            "list.txt:3: the clip has label 1 in line 1: 'a.avi 2'")):
        read(tmp_path, 'a.avi 1', 'b.avi 2', 'a.avi 2')
    assert len(read(tmp_path, 'a.avi 1', 'a.avi 1')) == 2


@pytest.mark.parametrize('name', ['climb', 'Climb'])
def test_two_classes_of_one_name(tmp_path, name):
    path = tmp_path / 'classes.txt'
    path.write_text(f'brush_hair\nclimb\n{name}\n')
    with pytest.raises(ValueError, match=(
            f"classes.txt: class 2 and class 1 have one name, '{name}'")):
        read_class_names(str(path), 3)


def test_class_names_that_are_no_text(tmp_path):
    path = tmp_path / 'classes.txt'
    path.write_bytes(b'brush_hair\n\xff\xfe\n')
    with pytest.raises(ValueError, match='classes.txt is not UTF-8 text'):
        read_class_names(str(path), 2)

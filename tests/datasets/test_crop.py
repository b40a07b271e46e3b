"""Tracklets cut out of real videos by track files."""
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from cosam_mm.datasets.preparation import tracklet_cropping as crop
from cosam_mm.datasets.preparation.tracklet_cropping import (
    CropSettings,
    TrackBox,
    clip_box,
    crop_tracklets,
    read_tracks,
)
from cosam_mm.datasets.reid import TrackletFolder
from cosam_mm.datasets.video_file import UnreadableVideo
from tests.video_data import SIZE, number_of, write_video

ALL = CropSettings(min_height=1, min_frames=1)
PICTURE = dict(x=0, y=0, w=SIZE[1], h=SIZE[0])


def write_tracks(path, rows, end='\n'):
    path.write_text(''.join(','.join(map(str, row)) + end for row in rows))
    return path


def rows_of(track, frames, x=24, y=8, w=40, h=48):
    return [(frame, track, x, y, w, h, 1, -1, -1, -1) for frame in frames]


def images_of(root):
    return sorted(str(path.relative_to(root)) for path in Path(root).rglob('*.jpg'))


@pytest.fixture
def video(tmp_path):
    return write_video(tmp_path / 'camera (1) %02d.avi', 30, 'MJPG')


def cut(tmp_path, video, rows, settings=ALL, out='out'):
    return crop_tracklets(
        video, write_tracks(tmp_path / 'tracks.txt', rows), tmp_path / out, settings)


def test_layout_and_names(tmp_path, video):
    rows = rows_of(7, range(1, 5)) + rows_of(12, range(3, 9), x=0, w=24)
    report = cut(tmp_path, video, rows, CropSettings(camid=3, min_frames=1))
    assert images_of(tmp_path / 'out') == [
        *(f'0007/3/0001/{frame:06d}.jpg' for frame in range(1, 5)),
        *(f'0012/3/0001/{frame:06d}.jpg' for frame in range(3, 9))]
    assert (report.num_tracklets, report.num_images) == (2, 10)
    assert set(report[2:]) == {0}
    assert [path.name for path in (tmp_path / 'out').iterdir()
            if path.name.startswith('.')] == []


def test_frames_are_counted_from_1(tmp_path, video):
    cut(tmp_path, video, rows_of(1, [1, 2, 17, 30], **PICTURE))
    numbers = {path.name: number_of(cv2.imread(str(path))[..., ::-1])
               for path in (tmp_path / 'out').rglob('*.jpg')}
    assert numbers == {'000001.jpg': 0, '000002.jpg': 1, '000017.jpg': 16,
                       '000030.jpg': 29}


def test_a_crop_shows_its_box_in_its_colours(tmp_path, video):
    cut(tmp_path, video, rows_of(1, [5], x=16, y=10, w=12, h=40))
    image = cv2.imread(str(tmp_path / 'out/0001/1/0001/000005.jpg'))
    assert image.shape == (40, 12, 3)
    blue, green, red = np.moveaxis(image[:, :7], -1, 0).astype(int)
    assert red.min() > 180  # the picture is red up to column 24
    assert max(blue.max(), green.max()) < 70
    assert image[:, 9:].max() < 70


@pytest.mark.parametrize(('box', 'padding', 'expected'), [
    ((10, 20, 30, 40), 0, (20, 60, 10, 40, False)),
    ((10.4, 20.6, 30, 40), 0, (20, 61, 10, 41, False)),
    ((10, 20, 30, 40), 0.1, (16, 64, 7, 43, False)),
    ((-5, -6, 30, 40), 0, (0, 34, 0, 25, True)),
    ((80, 50, 30, 40), 0, (50, 64, 80, 96, True)),
    ((0, 0, 96, 64), 0, (0, 64, 0, 96, False)),
    ((0, 0, 96, 64), 0.01, (0, 64, 0, 96, True)),
])
def test_clipping(box, padding, expected):
    assert clip_box(TrackBox(1, 1, *box), SIZE, padding) == expected


@pytest.mark.parametrize('box', [
    (96, 0, 10, 10), (-10, 0, 10, 10), (0, 64, 10, 10), (0, -20, 10, 10),
    (5, 5, 0, 10), (5, 5, 10, 0), (5, 5, -3, 10), (20, 5, 10, -10), (1e300, 5, 9, 9)])
def test_boxes_that_show_nothing(tmp_path, video, box):
    region = clip_box(TrackBox(1, 1, *box), SIZE)
    assert region.bottom <= region.top or region.right <= region.left
    rows = [(2, 1, *box), *rows_of(1, [3])]
    report = cut(tmp_path, video, rows)
    assert (report.num_empty, report.num_images, report.num_clipped) == (1, 1, 0)


def test_clipped_and_low_boxes_are_counted(tmp_path, video):
    rows = (rows_of(1, [1, 2], x=-8) + rows_of(1, [3, 4]) + rows_of(1, [5], h=31)
            + rows_of(1, [6], y=40, h=60))
    report = cut(tmp_path, video, rows, CropSettings(min_height=32, min_frames=1))
    assert (report.num_images, report.num_clipped, report.num_low) == (4, 2, 2)
    shapes = [cv2.imread(str(path)).shape for path in sorted(
        (tmp_path / 'out').rglob('*.jpg'))]
    assert shapes == [(48, 32, 3)] * 2 + [(48, 40, 3)] * 2


def test_padding_enlarges(tmp_path, video):
    report = cut(tmp_path, video, rows_of(1, [1], x=40, y=16, w=20, h=32),
                 CropSettings(padding=0.25, min_frames=1))
    assert cv2.imread(str(next((tmp_path / 'out').rglob('*.jpg')))).shape == (48, 30, 3)
    assert report.num_clipped == 0


@pytest.mark.parametrize(('max_gap', 'expected'), [
    (0, ['0001', '0002', '0003']), (2, ['0001', '0002']), (3, ['0001', '0002']),
    (5, ['0001'])])
def test_a_track_breaks_where_it_is_lost_for_longer(tmp_path, video, max_gap, expected):
    # lost for 2 and for 5 frames
    rows = rows_of(4, [1, 2, 5, 6, 12, 13])
    cut(tmp_path, video, rows, CropSettings(min_frames=1, max_gap=max_gap))
    assert sorted(os.listdir(tmp_path / 'out/0004/1')) == expected
    assert len(images_of(tmp_path / 'out')) == 6


def test_boxes_that_show_nothing_break_a_track_too(tmp_path, video):
    rows = (rows_of(4, [1, 2]) + rows_of(4, [3, 4, 5], x=500) + rows_of(4, [6]))
    report = cut(tmp_path, video, rows, CropSettings(min_frames=1, max_gap=2))
    assert report.num_tracklets == 2


def test_short_tracklets_are_left_out_and_counted(tmp_path, video):
    rows = rows_of(1, [1, 2, 3]) + rows_of(2, [1, 2], x=-3) + rows_of(
        3, [1, 2, 3, 20, 21])
    report = cut(tmp_path, video, rows, CropSettings(min_frames=3))
    assert sorted(os.listdir(tmp_path / 'out')) == ['0001', '0003']
    assert os.listdir(tmp_path / 'out/0003/1') == ['0001']
    assert (report.num_tracklets, report.num_short_tracklets) == (2, 2)
    assert (report.num_images, report.num_clipped) == (6, 0)


def test_boxes_after_the_last_frame_are_counted(tmp_path, video):
    report = cut(tmp_path, video, rows_of(1, [29, 30, 31, 99]))
    assert (report.num_images, report.num_after_end) == (2, 2)


def test_lines_may_come_in_any_order(tmp_path, video):
    rows = rows_of(1, range(1, 9))
    cut(tmp_path, video, rows)
    cut(tmp_path, video, rows[::-1], out='reversed')
    assert images_of(tmp_path / 'out') == images_of(tmp_path / 'reversed')


def test_the_data_set_reads_it(tmp_path, video):
    rows = [row for track in range(1, 5) for row in rows_of(track, range(1, 6))]
    for camid in (1, 2):
        cut(tmp_path, video, rows, CropSettings(camid=camid))
    found = [
        (item['pid'], item['camid'], len(item['img_paths']))
        for subset in ('train', 'gallery')
        for dataset in [TrackletFolder(str(tmp_path / 'out'), subset)]
        for item in map(dataset.get_data_info, range(len(dataset)))]
    assert sorted(found) == [(pid, camid, 5) for pid in range(1, 5) for camid in (1, 2)]


def test_a_second_camera_is_added_and_a_camera_is_never_mixed(tmp_path, video):
    cut(tmp_path, video, rows_of(1, [1]), CropSettings(camid=1, min_frames=1))
    cut(tmp_path, video, rows_of(1, [2]), CropSettings(camid=2, min_frames=1))
    before = images_of(tmp_path / 'out')
    assert before == ['0001/1/0001/000001.jpg', '0001/2/0001/000002.jpg']
    with pytest.raises(FileExistsError, match='0001/1 holds tracklets of camera 1 alr'):
        cut(tmp_path, video, rows_of(0, [3]) + rows_of(1, [3]))
    assert images_of(tmp_path / 'out') == before


# Track files.


def test_what_trackers_write_is_read(tmp_path):
    path = tmp_path / 'tracks.txt'
    path.write_bytes('\ufeff1, 2, 3.5, -4, 5e1, 6\r\n\r\n2.0,0,1,1,2,2,0.9,a,b\r\n'
                     .encode())
    assert read_tracks(str(path)) == [
        (1, 2, 3.5, -4.0, 50.0, 6.0), (2, 0, 1.0, 1.0, 2.0, 2.0)]


@pytest.mark.parametrize(('line', 'why'), [
    ('1,2,3,4,5', '5 fields'),
    ('1 2 3 4 5 6', '1 fields'),
    ('frame,id,x,y,w,h', 'could not convert string to float'),
    ('0,2,3,4,5,6', 'the frame must be a whole number, 1 or more'),
    ('1.5,2,3,4,5,6', 'the frame must be a whole number, 1 or more'),
    ('nan,2,3,4,5,6', 'the frame must be a whole number'),
    ('1,-1,3,4,5,6', r'the id \(-1 is a detection that no tracker has linked\) must'),
    ('1,2,3,4,,6', 'could not convert string to float'),
    ('1,2,3,nan,5,6', 'the box must be finite'),
    ('1,2,3,inf,5,6', 'the box must be finite'),
    ('3,2,9,9,9,9', 'id 2 comes twice in frame 3'),
])
def test_a_malformed_line_is_shown_with_its_number(tmp_path, line, why):
    path = tmp_path / 'tracks.txt'
    path.write_text(f'3,2,1,1,9,9\n\n{line}\n')
    with pytest.raises(ValueError, match=rf"tracks.txt, line 3: '{line}': {why}.*; "
                       r'expected frame,id,x,y,w,h\[,\.\.\.\]'):
        read_tracks(path)


def test_bytes_that_are_no_text(tmp_path):
    path = tmp_path / 'tracks.txt'
    path.write_bytes(b'1,1,1,1,9,9\n\xff\xfe\x00,2\n')
    with pytest.raises(ValueError, match=r'line 2: .*: 2 fields; expected'):
        read_tracks(path)


def test_no_box_at_all(tmp_path):
    (tmp_path / 'tracks.txt').write_text('\n \n')
    with pytest.raises(ValueError, match=r'tracks.txt holds no box; expected lines'):
        read_tracks(tmp_path / 'tracks.txt')


def test_files_that_are_not_there(tmp_path, video):
    with pytest.raises(FileNotFoundError, match='there is no track file .*gone.txt'):
        crop_tracklets(video, tmp_path / 'gone.txt', tmp_path / 'out')
    with pytest.raises(FileNotFoundError, match='there is no video .*gone.mp4'):
        crop_tracklets(tmp_path / 'gone.mp4', tmp_path / 'x', tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


# What can go wrong on the way.


@pytest.mark.parametrize('kind', ['cut', 'zeroed'])
def test_opencv_takes_over_from_the_start_where_decord_stops(tmp_path, request, kind):
    report = crop_tracklets(
        request.getfixturevalue(kind),
        write_tracks(tmp_path / 't.txt', rows_of(1, range(1, 41), **PICTURE)),
        tmp_path / 'out', ALL)
    images = sorted((tmp_path / 'out').rglob('*.jpg'))
    assert 20 < len(images) < 40
    assert len(images) == report.num_images == 40 - report.num_after_end
    assert [number_of(cv2.imread(str(path))[..., ::-1]) for path in images[:20]] == [
        *range(20)]


def test_a_video_that_cannot_be_read_leaves_nothing(tmp_path):
    path = tmp_path / 'noise.avi'
    path.write_bytes(np.random.default_rng(0).bytes(5000))
    with pytest.raises(UnreadableVideo, match='noise.avi cannot be read: decord: .*; '
                       'OpenCV: no frame'):
        cut(tmp_path, path, rows_of(1, [1]))
    assert not (tmp_path / 'out').exists()


def test_nothing_left_is_an_error_with_the_counts(tmp_path, video):
    with pytest.raises(ValueError, match='no tracklet is left of 2 boxes: .*num_low=2'):
        cut(tmp_path, video, rows_of(1, [1, 2], h=20), CropSettings())
    assert not (tmp_path / 'out').exists()


def test_an_interrupted_run_leaves_what_was_there(tmp_path, video, monkeypatch):
    cut(tmp_path, video, rows_of(1, [1]))
    before = sorted((tmp_path / 'out').rglob('*'))

    def interrupted(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(crop._Writer, 'finish', interrupted)
    with pytest.raises(KeyboardInterrupt):
        cut(tmp_path, video, rows_of(2, [1]))
    assert sorted((tmp_path / 'out').rglob('*')) == before


def test_the_video_is_read_no_further_than_needed(tmp_path, video, monkeypatch):
    taken = []

    def counted(path):
        for number in range(30):
            taken.append(number)
            yield np.zeros((*SIZE, 3), np.uint8)

    monkeypatch.setattr(crop, 'frames_with_decord', counted)
    cut(tmp_path, video, rows_of(1, [2, 5]))
    assert taken == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(('name', 'value', 'low'), [
    ('camid', -1, 0), ('padding', -0.1, 0), ('padding', float('nan'), 0),
    ('padding', float('inf'), 0), ('min_height', 0, 1), ('max_gap', -1, 0),
    ('min_frames', 0, 1)])
def test_settings_refuse(name, value, low):
    with pytest.raises(ValueError, match=f'{name} is {value}; allowed: {low} and'):
        CropSettings(**{name: value})

"""Tracklets cut out of real videos by track files."""
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from cosam_mm.datasets.preparation import tracklet_cropping
from cosam_mm.datasets.preparation.tracklet_cropping import (
    CropSettings,
    crop_tracklets,
    read_tracks,
)
from cosam_mm.datasets.reid import TrackletFolder
from cosam_mm.datasets.video_reader import UnreadableVideo
from tests.video_data import SIZE, number_of, write_video

ALL = CropSettings(min_height=1, min_frames=1)
FRAME = dict(x=0, y=0, w=SIZE[1], h=SIZE[0])


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
    rows = rows_of(12, range(8, 2, -1), x=0, w=24) + rows_of(7, range(1, 5))
    report = cut(tmp_path, video, rows, CropSettings(camid=3, min_frames=1))
    assert images_of(tmp_path / 'out') == [
        *(f'0007/3/0001/{frame:06d}.jpg' for frame in range(1, 5)),
        *(f'0012/3/0001/{frame:06d}.jpg' for frame in range(3, 9))]
    assert (report.num_tracklets, report.num_images) == (2, 10)
    assert set(report[2:]) == {0}
    assert [path.name for path in (tmp_path / 'out').iterdir()
            if path.name.startswith('.')] == []


def test_frames_are_counted_from_1(tmp_path, video):
    cut(tmp_path, video, rows_of(1, [1, 2, 17, 30], **FRAME))
    numbers = {path.name: number_of(cv2.imread(str(path))[..., ::-1])
               for path in (tmp_path / 'out').rglob('*.jpg')}
    assert numbers == {'000001.jpg': 0, '000002.jpg': 1, '000017.jpg': 16,
                       '000030.jpg': 29}


def test_a_crop_shows_its_box_in_its_colours(tmp_path, video):
    cut(tmp_path, video, rows_of(1, [5], x=16, y=10, w=12, h=40))
    image = cv2.imread(str(tmp_path / 'out/0001/1/0001/000005.jpg'))
    assert image.shape == (40, 12, 3)
    blue, green, red = np.moveaxis(image[:, :7], -1, 0).astype(int)
    assert red.min() > 180  # the frame is red up to column 24
    assert max(blue.max(), green.max()) < 70
    assert image[:, 9:].max() < 70


@pytest.mark.parametrize(('box', 'padding', 'expected', 'num_clipped'), [
    ((10, 20, 30, 40), 0, (20, 60, 10, 40), 0),
    ((10.4, 20.6, 30, 40), 0, (20, 61, 10, 41), 0),
    ((10, 20, 30, 40), 0.1, (16, 64, 7, 43), 0),
    ((-5, -6, 30, 40), 0, (0, 34, 0, 25), 1),
    ((80, 50, 30, 40), 0, (50, 64, 80, 96), 1),
    ((0, 0, 96, 64), 0, (0, 64, 0, 96), 0),
    ((0, 0, 96, 64), 0.01, (0, 64, 0, 96), 1),
])
def test_clipping(tmp_path, video, box, padding, expected, num_clipped):
    report = cut(tmp_path, video, [(30, 1, *box)],
                 CropSettings(padding=padding, min_height=1, min_frames=1))
    assert (report.num_images, report.num_clipped) == (1, num_clipped)
    image = cv2.imread(str(tmp_path / 'out/0001/1/0001/000030.jpg')).astype(int)
    capture = cv2.VideoCapture(video, cv2.CAP_FFMPEG)
    for _ in range(30):
        _, frame = capture.read()
    top, bottom, left, right = expected
    assert image.shape == (bottom - top, right - left, 3)
    assert np.abs(image - frame[top:bottom, left:right]).mean() < 4


@pytest.mark.parametrize('box', [
    (96, 0, 10, 10), (-10, 0, 10, 10), (0, 64, 10, 10), (0, -20, 10, 10),
    (5, 5, 0, 10), (5, 5, 10, 0), (5, 5, -3, 10), (20, 5, 10, -10), (1e300, 5, 9, 9)])
def test_boxes_that_show_nothing(tmp_path, video, box):
    report = cut(tmp_path, video, [(2, 1, *box), *rows_of(1, [3])])
    assert (report.num_empty, report.num_images, report.num_clipped) == (1, 1, 0)


def test_clipped_and_low_boxes_are_counted(tmp_path, video):
    rows = (rows_of(1, [1, 2], x=-8) + rows_of(1, [3, 4]) + rows_of(1, [5], h=31)
            + rows_of(1, [6], y=40, h=60))
    report = cut(tmp_path, video, rows, CropSettings(min_height=32, min_frames=1))
    assert (report.num_images, report.num_clipped, report.num_low) == (4, 2, 2)
    shapes = [cv2.imread(str(path)).shape for path in sorted(
        (tmp_path / 'out').rglob('*.jpg'))]
    assert shapes == [(48, 32, 3)] * 2 + [(48, 40, 3)] * 2


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
    with pytest.raises(FileExistsError, match='camera 1'):
        cut(tmp_path, video, rows_of(0, [3]) + rows_of(1, [3]))
    assert images_of(tmp_path / 'out') == before


# Track files.


def test_what_trackers_write_is_read(tmp_path):
    path = tmp_path / 'tracks.txt'
    path.write_bytes('\ufeff1, 2, 3.5, -4, 5e1, 6\r\n\r\n2.0,0,1,1,2,2,0.9,a,b\r\n'
                     .encode())
    assert read_tracks(str(path)) == [
        (1, 2, 3.5, -4.0, 50.0, 6.0), (2, 0, 1.0, 1.0, 2.0, 2.0)]


@pytest.mark.parametrize('line', [
    '1,2,3,4,5', '1 2 3 4 5 6', 'frame,id,x,y,w,h', '0,2,3,4,5,6', '1.5,2,3,4,5,6',
    'nan,2,3,4,5,6', '1,-1,3,4,5,6', '1,2,3,4,,6', '1,2,3,nan,5,6', '1,2,3,inf,5,6',
    '3,2,9,9,9,9'])
def test_a_malformed_line_is_shown_with_its_number(tmp_path, line):
    path = tmp_path / 'tracks.txt'
    path.write_text(f'3,2,1,1,9,9\n\n{line}\n')
    with pytest.raises(ValueError, match=f"line 3: '{line}'"):
        read_tracks(path)


@pytest.mark.parametrize(('content', 'reason'), [
    (b'1,1,1,1,9,9\n\xff\xfe\x00,2\n', 'line 2'), (b'\n \n', 'no box')])
def test_files_that_are_no_tracks(tmp_path, content, reason):
    path = tmp_path / 'tracks.txt'
    path.write_bytes(content)
    with pytest.raises(ValueError, match=reason):
        read_tracks(path)


def test_files_that_are_not_there(tmp_path, video):
    with pytest.raises(FileNotFoundError, match='gone.txt'):
        crop_tracklets(video, tmp_path / 'gone.txt', tmp_path / 'out')
    with pytest.raises(FileNotFoundError, match='gone.mp4'):
        crop_tracklets(tmp_path / 'gone.mp4', tmp_path / 'x', tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


# What can go wrong on the way.


def test_opencv_takes_over_from_the_start_where_decord_stops(
        tmp_path, zeroed):
    report = crop_tracklets(
        zeroed, write_tracks(tmp_path / 't.txt', rows_of(1, range(1, 41), **FRAME)),
        tmp_path / 'out', ALL)
    images = sorted((tmp_path / 'out').rglob('*.jpg'))
    assert 20 < len(images) < 40
    assert len(images) == report.num_images == 40 - report.num_after_end
    assert [number_of(cv2.imread(str(path))[..., ::-1]) for path in images[:20]] == [
        *range(20)]


def test_a_video_that_cannot_be_read_leaves_nothing(tmp_path):
    path = tmp_path / 'noise.avi'
    path.write_bytes(np.random.default_rng(0).bytes(5000))
    with pytest.raises(UnreadableVideo, match='noise.avi.*decord: .*OpenCV: '):
        cut(tmp_path, path, rows_of(1, [1]))
    assert not (tmp_path / 'out').exists()


def test_nothing_left_is_an_error_with_the_counts(tmp_path, video):
    with pytest.raises(ValueError, match='num_low=2'):
        cut(tmp_path, video, rows_of(1, [1, 2], h=20), CropSettings())
    assert not (tmp_path / 'out').exists()


def test_an_interrupted_run_leaves_what_was_there(tmp_path, video, monkeypatch):
    cut(tmp_path, video, rows_of(1, [1]))
    before = sorted((tmp_path / 'out').rglob('*'))

    def read(path, use):
        def frames():
            yield np.zeros((*SIZE, 3), np.uint8)
            raise KeyboardInterrupt
        return use(frames())

    monkeypatch.setattr(tracklet_cropping, 'read_all_frames', read)
    with pytest.raises(KeyboardInterrupt):
        cut(tmp_path, video, rows_of(2, [1, 2]))
    assert sorted((tmp_path / 'out').rglob('*')) == before


def test_the_video_is_read_no_further_than_needed(tmp_path, video, monkeypatch):
    taken = []

    def read(path, use):
        return use(taken.append(number) or np.zeros((*SIZE, 3), np.uint8)
                   for number in range(30))

    monkeypatch.setattr(tracklet_cropping, 'read_all_frames', read)
    cut(tmp_path, video, rows_of(1, [2, 5]))
    assert taken == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(('name', 'value'), [
    ('camid', -1), ('padding', -0.1), ('padding', float('nan')),
    ('padding', float('inf')), ('min_height', 0), ('max_gap', -1), ('min_frames', 0)])
def test_settings_refuse(name, value):
    with pytest.raises(ValueError, match=name):
        CropSettings(**{name: value})

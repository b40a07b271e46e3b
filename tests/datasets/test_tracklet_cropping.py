"""Tracklets cut out of real videos by track files."""
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from cosam_mm.datasets.preparation import tracklet_cropping
from cosam_mm.datasets.preparation.track_files import BoxChoice
from cosam_mm.datasets.preparation.tracklet_cropping import (
    CropSettings,
    crop_tracklets,
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
    assert set(report[2:-1]) == {0}
    assert report.left_out == {}
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
        cut(tmp_path, video, rows, CropSettings(camid=camid, same_ids=True))
    found = [
        (item['pid'], item['camid'], len(item['img_paths']))
        for subset in ('train', 'gallery')
        for dataset in [TrackletFolder(str(tmp_path / 'out'), subset)]
        for item in map(dataset.get_data_info, range(len(dataset)))]
    assert sorted(found) == [(pid, camid, 5) for pid in range(1, 5) for camid in (1, 2)]


def test_ids_of_a_second_camera_are_the_same_persons_only_if_said(tmp_path, video):
    def add(track, **settings):
        return cut(tmp_path, video, rows_of(track, [2]),
                   CropSettings(min_frames=1, **settings))

    add(1)
    for settings in (dict(camid=2), dict(camid=1), dict(camid=1, same_ids=True)):
        with pytest.raises(FileExistsError, match='0001.*--id-prefix'):
            add(1, **settings)
    assert images_of(tmp_path / 'out') == ['0001/1/0001/000002.jpg']
    add(1, camid=2, same_ids=True)
    add(5, camid=2)  # a person whom the other camera did not see
    for camid in (1, 2):  # of a second video
        add(1, camid=camid, id_prefix='b', same_ids=camid == 2)
    with pytest.raises(FileExistsError, match='b0001'):
        add(1, camid=3, id_prefix='b')
    assert images_of(tmp_path / 'out') == [
        *(f'{person}/{camid}/0001/000002.jpg' for person, camid in
          (('0001', 1), ('0001', 2), ('0005', 2), ('b0001', 1), ('b0001', 2)))]


class TestImageSequences:

    @pytest.fixture
    def sequence(self, tmp_path, video):
        """As the MOT challenge: img1/000001.jpg and so on, seqinfo.ini."""
        folder = tmp_path / 'MOT16-99'
        (folder / 'img1').mkdir(parents=True)
        capture = cv2.VideoCapture(video, cv2.CAP_FFMPEG)
        for number in range(1, 21):
            cv2.imwrite(str(folder / f'img1/{number:06d}.jpg'), capture.read()[1])
        self.write_info(folder, 20)
        return folder

    @staticmethod
    def write_info(folder, length):
        (folder / 'seqinfo.ini').write_text(
            f'[Sequence]\nname={folder.name}\nimDir=img1\nframeRate=30\n'
            f'seqLength={length}\nimWidth={SIZE[1]}\nimHeight={SIZE[0]}\nimExt=.jpg\n')

    @pytest.mark.parametrize('given', ['', 'img1', 'seqinfo.ini'])
    def test_frames_are_the_images(self, tmp_path, sequence, given):
        report = cut(tmp_path, sequence / given, rows_of(1, [1, 2, 17, 99], **FRAME))
        assert (report.num_images, report.num_after_end) == (3, 1)
        assert [number_of(cv2.imread(str(path))[..., ::-1]) for path in
                sorted((tmp_path / 'out').rglob('*.jpg'))] == [0, 1, 16]

    def test_folder_without_seqinfo(self, tmp_path, sequence):
        (sequence / 'seqinfo.ini').unlink()
        assert cut(tmp_path, sequence, rows_of(1, [20])).num_images == 1

    @pytest.mark.parametrize(('change', 'error', 'match'), [
        (lambda folder: (folder / 'img1/000007.jpg').unlink(), ValueError, '20'),
        (lambda folder: TestImageSequences.write_info(folder, 'x'), ValueError, 'ini'),
        (lambda folder: (folder / 'img1/000007.jpg').write_bytes(b'x'),
         UnreadableVideo, '000007'),
        (lambda folder: [path.unlink() for path in (folder / 'img1').iterdir()],
         ValueError, '0 images')])
    def test_incomplete(self, tmp_path, sequence, change, error, match):
        change(sequence)
        with pytest.raises(error, match=match):
            cut(tmp_path, sequence, rows_of(1, [1, 9]))
        assert not (tmp_path / 'out').exists()

    @pytest.mark.parametrize(('gone', 'match'), [
        ([7], '8 follows on 6'), (range(1, 6), '--first-frame 6')])
    @pytest.mark.parametrize('name', ['{}', 'frame_{}'])
    def test_images_whose_numbers_are_not_those_of_the_frames(
            self, tmp_path, sequence, gone, match, name):
        for number in gone:
            (sequence / f'img1/{number:06d}.jpg').unlink()
        for path in (sequence / 'img1').iterdir():
            path.rename(path.with_name(name.format(path.name)))
        with pytest.raises(ValueError, match=match):
            cut(tmp_path, sequence / 'img1', rows_of(1, [9]))

    def test_first_frame(self, tmp_path, sequence):
        for number in range(1, 6):
            (sequence / f'img1/{number:06d}.jpg').unlink()
        crop_tracklets(
            sequence / 'img1', write_tracks(tmp_path / 't', rows_of(1, [9], **FRAME)),
            tmp_path / 'out', ALL, BoxChoice(first_frame=6))
        assert number_of(cv2.imread(str(
            tmp_path / 'out/0001/1/0001/000004.jpg'))[..., ::-1]) == 8


def test_files_that_are_not_there(tmp_path, video):
    with pytest.raises(FileNotFoundError, match='gone.txt'):
        crop_tracklets(video, tmp_path / 'gone.txt', tmp_path / 'out')
    with pytest.raises(FileNotFoundError, match='gone.mp4'):
        crop_tracklets(tmp_path / 'gone.mp4', tmp_path / 'x', tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


# What can go wrong on the way.


def test_a_damaged_video_gives_the_frames_that_are_there(tmp_path, zeroed):
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
    with pytest.raises(UnreadableVideo, match='noise.avi.*PyAV: .*OpenCV: '):
        cut(tmp_path, path, rows_of(1, [1]))
    assert not (tmp_path / 'out').exists()


def test_nothing_left_is_an_error_with_the_counts(tmp_path, video):
    with pytest.raises(ValueError, match='2 lower than 32'):
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
    ('padding', float('inf')), ('min_height', 0), ('max_gap', -1), ('min_frames', 0),
    ('id_prefix', '../b')])
def test_settings_refuse(name, value):
    with pytest.raises(ValueError, match=name):
        CropSettings(**{name: value})

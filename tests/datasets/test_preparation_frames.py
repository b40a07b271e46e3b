"""Frame extraction on real encoded videos: right frames, whole clips, resumable."""
import json

import cv2
import numpy as np
import pytest

from cosam_mm.datasets.preparation.frame_extraction import extract_frames
from cosam_mm.datasets.preparation.frame_files import (
    FrameSettings,
    count_finished_frames,
    extract_clip,
    shrunk_size,
    write_images,
)
from cosam_mm.datasets.video_file import UnreadableVideo, frames_with_decord

STEP = 7


def write_video(path, num_frames=6, size=(64, 48), codec='MJPG'):
    """A video whose frame k is red by 20 + 7 k, so that frames tell their place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), 25, size)
    assert writer.isOpened()
    for k in range(num_frames):
        frame = np.zeros((size[1], size[0], 3), np.uint8)
        frame[..., 2] = 20 + STEP * k
        writer.write(frame)
    writer.release()
    return path


def reds(frames):
    return [int(np.median(frame[..., 0])) for frame in frames]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(('size', 'short_side', 'expected'), [
    ((320, 240), 256, (320, 240)),
    ((320, 240), 120, (160, 120)),
    ((240, 320), 120, (120, 160)),
    ((341, 256), 128, (170, 128)),
    ((320, 240), 0, (320, 240)),
    ((320, 240), 240, (320, 240)),
])
def test_shrunk_size(size, short_side, expected):
    assert shrunk_size(*size, short_side) == expected


def test_settings_refuse_a_negative_size():
    with pytest.raises(ValueError, match=r'must be 0 \(keep the size\) or more, got '):
        FrameSettings(short_side=-1)


def test_rgb_images_on_disk(tmp_path):
    video = write_video(tmp_path / 'v.avi')

    count = extract_clip(video, tmp_path / 'out', 'wave/v', FrameSettings(24))

    folder = tmp_path / 'out' / 'wave' / 'v'
    assert count == 6 == count_finished_frames(folder, with_flow=False)
    assert names(folder) == [f'img_{k:05d}.jpg' for k in range(1, 7)]
    images = [cv2.imread(str(folder / name))[..., ::-1] for name in names(folder)]
    assert {image.shape for image in images} == {(24, 32, 3)}
    np.testing.assert_allclose(reds(images), 20 + STEP * np.arange(6), atol=3)


def test_flow_images_on_disk(tmp_path):
    texture = cv2.GaussianBlur(
        np.random.default_rng(0).integers(0, 256, (60, 120, 3), np.uint8), (0, 0), 2)
    texture = cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX)
    frames = [texture[:, 20 - x:100 - x] for x in (0, 2, 6)]  # to the right by 2, by 4

    count = write_images(frames, tmp_path, FrameSettings(flow='farneback'))

    assert count == 3 == count_finished_frames(tmp_path, with_flow=True)
    assert len(names(tmp_path)) == 9

    def grey(axis, number):
        path = tmp_path / f'flow_{axis}_{number:05d}.jpg'
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert image.shape == (60, 80)
        return np.median(image[15:-15, 15:-15])

    expected = [127.5 + pixels * 255 / 40 for pixels in (2, 4, 4)]
    np.testing.assert_allclose([grey('x', k) for k in (1, 2, 3)], expected, atol=2)
    np.testing.assert_allclose([grey('y', k) for k in (1, 2, 3)], 127.5, atol=2)
    assert ((tmp_path / 'flow_x_00003.jpg').read_bytes()
            == (tmp_path / 'flow_x_00002.jpg').read_bytes())


def test_one_frame_alone_has_no_motion(tmp_path):
    write_images([np.zeros((48, 64, 3), np.uint8)], tmp_path,
                 FrameSettings(flow='farneback'))

    flow = cv2.imread(str(tmp_path / 'flow_y_00001.jpg'), cv2.IMREAD_UNCHANGED)
    assert np.unique(flow).tolist() == [128]


def test_no_frame_at_all(tmp_path):
    with pytest.raises(UnreadableVideo, match='no frame'):
        write_images([], tmp_path, FrameSettings())


def test_all_frames_get_the_size_of_the_first(tmp_path):
    frames = [np.zeros((48, 64, 3), np.uint8), np.zeros((96, 128, 3), np.uint8)]

    write_images(frames, tmp_path, FrameSettings())

    assert cv2.imread(str(tmp_path / 'img_00002.jpg')).shape == (48, 64, 3)


def test_opencv_takes_over_where_decord_stops_in_the_middle(tmp_path):
    whole = write_video(tmp_path / 'whole.avi', num_frames=30).read_bytes()
    cut = tmp_path / 'cut.avi'
    cut.write_bytes(whole[:int(len(whole) * 0.9)])
    with pytest.raises(UnreadableVideo, match='decord'):
        list(frames_with_decord(cut))

    count = extract_clip(cut, tmp_path / 'out', 'wave/cut', FrameSettings())

    assert 20 <= count < 30
    assert names(tmp_path / 'out' / 'wave' / 'cut')[-1] == f'img_{count:05d}.jpg'


def test_a_real_file_that_decord_refuses(real_data_dir, tmp_path):
    video = real_data_dir / 'broken' / 'v_Basketball_g01_c02.mp4'

    count = extract_clip(video, tmp_path, 'Basketball/v', FrameSettings(32))

    assert count == 180
    assert len(names(tmp_path / 'Basketball' / 'v')) == 180


def test_an_unreadable_clip_leaves_nothing_and_stops_nothing(tmp_path):
    videos = tmp_path / 'videos'
    write_video(videos / 'wave' / 'good.avi')
    (videos / 'wave' / 'bad.avi').write_bytes(b'RIFF but no more')

    result = extract_frames(['wave/bad.avi', 'wave/good.avi'], videos,
                            tmp_path / 'frames', FrameSettings())

    assert result.num_frames == {'wave/good.avi': 6}
    assert list(result.unreadable) == ['wave/bad.avi']
    assert 'decord: ' in result.unreadable['wave/bad.avi']
    assert 'OpenCV: no frame can be read' in result.unreadable['wave/bad.avi']
    assert names(tmp_path / 'frames') == ['extraction.json', 'wave']
    assert names(tmp_path / 'frames' / 'wave') == ['good']


def test_finished_clips_are_skipped_and_the_rest_is_done(tmp_path):
    videos, frames = tmp_path / 'videos', tmp_path / 'frames'
    write_video(videos / 'wave' / 'a.avi')
    write_video(videos / 'wave' / 'b.avi', num_frames=4)
    extract_frames(['wave/a.avi'], videos, frames, FrameSettings())
    image = frames / 'wave' / 'a' / 'img_00001.jpg'
    before = image.stat().st_mtime_ns
    # What a killed run leaves behind.
    left = frames / '.partial' / 'wave' / 'b'
    left.mkdir(parents=True)
    (left / 'img_00009.jpg').write_bytes(b'half')

    result = extract_frames(
        ['wave/a.avi', 'wave/b.avi', 'wave/b.avi'], videos, frames, FrameSettings())

    assert result.num_frames == {'wave/a.avi': 6, 'wave/b.avi': 4}
    assert result.num_skipped == 1
    assert image.stat().st_mtime_ns == before
    assert len(names(frames / 'wave' / 'b')) == 4
    assert not (frames / '.partial').exists()


def test_flow_comes_to_frames_that_had_none(tmp_path):
    videos, frames = tmp_path / 'videos', tmp_path / 'frames'
    write_video(videos / 'wave' / 'a.avi')
    extract_frames(['wave/a.avi'], videos, frames, FrameSettings())

    with_flow = extract_frames(
        ['wave/a.avi'], videos, frames, FrameSettings(flow='farneback'))
    assert with_flow.num_skipped == 0
    assert len(names(frames / 'wave' / 'a')) == 18

    rgb_again = extract_frames(['wave/a.avi'], videos, frames, FrameSettings())
    assert rgb_again.num_skipped == 1
    assert len(names(frames / 'wave' / 'a')) == 18


def test_frames_of_different_making_are_never_mixed(tmp_path):
    settings = FrameSettings(100, 'farneback')
    extract_frames([], tmp_path, tmp_path / 'frames', settings)

    with pytest.raises(ValueError, match='short side 100, asked for was 256: ask for'):
        extract_frames([], tmp_path, tmp_path / 'frames', FrameSettings())
    if hasattr(cv2, 'optflow'):
        with pytest.raises(ValueError, match='flow farneback, asked for was tvl1'):
            extract_frames(
                [], tmp_path, tmp_path / 'frames', FrameSettings(100, 'tvl1'))
    (tmp_path / 'frames' / 'extraction.json').write_text(json.dumps({'size': 3}))
    with pytest.raises(ValueError, match='does not say how the frames beside it were'):
        extract_frames([], tmp_path, tmp_path / 'frames', settings)


def test_foreign_files_are_never_deleted(tmp_path):
    video = write_video(tmp_path / 'v.avi')
    mine = tmp_path / 'out' / 'wave' / 'v' / 'frame_1.png'
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b'mine')

    with pytest.raises(FileExistsError, match=r"holds 'frame_1\.png', which is no"):
        extract_clip(video, tmp_path / 'out', 'wave/v', FrameSettings())

    assert mine.read_bytes() == b'mine'


def test_processes_give_what_one_process_gives(tmp_path):
    videos = tmp_path / 'videos'
    paths = [f'wave/{k}.avi' for k in range(3)]
    for k, path in enumerate(paths):
        write_video(videos / path, num_frames=3 + k)
    (videos / 'wave' / 'bad.avi').write_bytes(b'RIFF but no more')

    results = [
        extract_frames([*paths, 'wave/bad.avi'], videos, tmp_path / str(workers),
                       FrameSettings(flow='farneback'), workers)
        for workers in (0, 2)]

    assert results[0] == results[1]
    assert results[0].num_frames == {'wave/0.avi': 3, 'wave/1.avi': 4, 'wave/2.avi': 5}
    images = sorted((tmp_path / '0').rglob('*.jpg'))
    assert len(images) == 3 * 12
    for image in images:
        twin = tmp_path / '2' / image.relative_to(tmp_path / '0')
        assert image.read_bytes() == twin.read_bytes()

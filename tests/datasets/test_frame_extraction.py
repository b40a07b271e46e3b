"""Frame extraction on real encoded videos: right frames and flow, whole, resumable."""
import json

import cv2
import numpy as np
import pytest

from cosam_mm.datasets.preparation.frame_extraction import (
    FrameSettings,
    extract_clip,
    extract_frames,
    quantize_flow,
    shrunk_size,
)
from cosam_mm.datasets.video_reader import UnreadableVideo, VideoReader
from tests.video_data import encode

STEP = 7
SHIFT = (3, -2)  # pixels to the right, pixels down


def write_frames(path, frames, codec='MJPG'):
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(
        str(path), cv2.VideoWriter_fourcc(*codec), 25, (width, height))
    assert writer.isOpened()
    for frame in frames:
        writer.write(np.ascontiguousarray(frame))
    writer.release()
    return path


def write_video(path, num_frames=6):
    """A video whose frame k is red by 20 + 7 k, so that frames tell their number."""
    return write_frames(path, [
        np.full((48, 64, 3), (0, 0, 20 + STEP * k), np.uint8)
        for k in range(num_frames)])


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(('size', 'short_side', 'expected'), [
    ((320, 240), 256, (320, 240)), ((320, 240), 120, (160, 120)),
    ((240, 320), 120, (120, 160)), ((341, 256), 128, (170, 128)),
    ((320, 240), 0, (320, 240)), ((320, 240), 240, (320, 240))])
def test_shrunk_size(size, short_side, expected):
    assert shrunk_size(*size, short_side) == expected


def test_rgb_images_on_disk(tmp_path):
    video = write_video(tmp_path / 'v.avi')

    assert extract_clip(video, tmp_path / 'out', 'wave/v', FrameSettings(24)) == 6

    folder = tmp_path / 'out' / 'wave' / 'v'
    assert names(folder) == [f'img_{k:05d}.jpg' for k in range(1, 7)]
    images = [cv2.imread(str(folder / name)) for name in names(folder)]
    assert {image.shape for image in images} == {(24, 32, 3)}
    reds = [np.median(image[..., 2]) for image in images]
    np.testing.assert_allclose(reds, 20 + STEP * np.arange(6), atol=3)
    with pytest.raises(ValueError, match='-1'):
        FrameSettings(short_side=-1)


@pytest.mark.parametrize('name', ['tvl1', 'farneback'])
def test_flow_of_a_known_displacement(tmp_path, name):
    """A window over one smooth texture, once at rest; flow is written in its pixels."""
    if name == 'tvl1' and not hasattr(cv2, 'optflow'):
        pytest.skip('this OpenCV has no optflow module')
    texture = np.random.default_rng(0).uniform(0, 255, (120, 140)).astype(np.float32)
    texture = cv2.normalize(cv2.GaussianBlur(texture, (0, 0), 2), None, 0, 255,
                            cv2.NORM_MINMAX).astype(np.uint8)
    texture = cv2.cvtColor(texture, cv2.COLOR_GRAY2BGR)
    x, y = SHIFT
    video = write_frames(tmp_path / 'v.avi', [
        texture[20:100, 20:116], texture[20 - y:100 - y, 20 - x:116 - x],
        texture[20 - y:100 - y, 20 - x:116 - x]])

    assert extract_clip(video, tmp_path / 'out', 'v', FrameSettings(flow=name)) == 3

    folder = tmp_path / 'out' / 'v'
    assert len(names(folder)) == 9

    def pixels(axis, number):
        image = cv2.imread(str(folder / f'flow_{axis}_{number:05d}.jpg'),
                           cv2.IMREAD_UNCHANGED)
        assert image.shape == (80, 96)
        return (np.median(image[20:-20, 20:-20]) - 127.5) * 40 / 255

    found = [[pixels(axis, number) for axis in 'xy'] for number in (1, 2, 3)]
    np.testing.assert_allclose(found, [SHIFT, (0, 0), (0, 0)], atol=0.4)
    assert ((folder / 'flow_x_00003.jpg').read_bytes()
            == (folder / 'flow_x_00002.jpg').read_bytes())


def test_flow_becomes_the_nearest_grey_value():
    grey = quantize_flow(np.linspace(-30, 30, 241, dtype=np.float32))
    assert grey.dtype == np.uint8
    exact = [255 * (min(max(v, -20), 20) + 20) / 40 for v in np.linspace(-30, 30, 241)]
    assert np.abs(grey - np.array(exact)).max() <= 0.5


def test_one_frame_alone_has_no_motion(tmp_path):
    video = write_video(tmp_path / 'v.avi', 1)
    extract_clip(video, tmp_path / 'out', 'v', FrameSettings(flow='farneback'))

    flow = cv2.imread(str(tmp_path / 'out/v/flow_y_00001.jpg'), cv2.IMREAD_UNCHANGED)
    assert np.unique(flow).tolist() == [128]


def test_flow_that_cannot_be_computed(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match='raft'):
        extract_frames([], tmp_path, tmp_path / 'out', FrameSettings(flow='raft'))
    monkeypatch.delattr(cv2, 'optflow', raising=False)
    with pytest.raises(ValueError, match='opencv-contrib-python'):
        extract_frames([], tmp_path, tmp_path / 'out', FrameSettings(flow='tvl1'))


@pytest.mark.parametrize('kind', ['cut', 'zeroed'])
def test_damaged_files_give_the_frames_that_are_there(tmp_path, request, kind):
    count = extract_clip(
        request.getfixturevalue(kind), tmp_path / 'out', 'wave/v', FrameSettings())

    assert 20 <= count < 32
    assert names(tmp_path / 'out' / 'wave' / 'v') == [
        f'img_{k:05d}.jpg' for k in range(1, count + 1)]


@pytest.mark.parametrize(('size', 'cut'), [((97, 63), 0), ((96, 64), 1.1)])
def test_frames_are_those_of_the_reader(tmp_path, size, cut):
    """Of odd sizes decord gives wrong frames, and hidden ones of what was cut."""
    video = encode(tmp_path / 'v.mp4', 'mpeg4', {'g': '12'}, size=size, cut=cut)
    count = extract_clip(video, tmp_path / 'out', 'v', FrameSettings(0))

    reader = VideoReader(video)
    assert count == len(reader) == (21 if cut else 48)
    for number, frame in enumerate(reader.get_batch(range(count)), start=1):
        image = cv2.imread(str(tmp_path / f'out/v/img_{number:05d}.jpg'))[..., ::-1]
        assert np.abs(image.astype(int) - frame).mean() < 15  # JPEG; others: 60


def test_a_real_file_with_an_absurd_header(real_data_dir, tmp_path):
    video = real_data_dir / 'broken' / 'v_Basketball_g01_c02.mp4'

    assert extract_clip(video, tmp_path, 'Basketball/v', FrameSettings(32)) == 180

    assert len(names(tmp_path / 'Basketball' / 'v')) == 180


def test_an_unreadable_clip_leaves_nothing_and_stops_nothing(tmp_path):
    videos = tmp_path / 'videos'
    write_video(videos / 'wave' / 'good.avi')
    (videos / 'wave' / 'bad.avi').write_bytes(b'RIFF but no more')

    result = extract_frames(['wave/bad.avi', 'wave/good.avi'], videos,
                            tmp_path / 'frames', FrameSettings())

    assert result.num_frames == {'wave/good.avi': 6}
    assert list(result.unreadable) == ['wave/bad.avi']
    assert 'PyAV: ' in result.unreadable['wave/bad.avi']
    assert 'OpenCV: ' in result.unreadable['wave/bad.avi']
    assert names(tmp_path / 'frames') == ['extraction.json', 'wave']
    assert names(tmp_path / 'frames' / 'wave') == ['good']
    with pytest.raises(UnreadableVideo):
        extract_clip(videos / 'wave/bad.avi', tmp_path / 'x', 'bad', FrameSettings())


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

    with pytest.raises(ValueError, match='short side 100'):
        extract_frames([], tmp_path, tmp_path / 'frames', FrameSettings())
    if hasattr(cv2, 'optflow'):
        with pytest.raises(ValueError, match='tvl1'):
            extract_frames(
                [], tmp_path, tmp_path / 'frames', FrameSettings(100, 'tvl1'))
    (tmp_path / 'frames' / 'extraction.json').write_text(json.dumps({'size': 3}))
    with pytest.raises(ValueError, match='extraction.json'):
        extract_frames([], tmp_path, tmp_path / 'frames', settings)


def test_foreign_files_are_never_deleted(tmp_path):
    video = write_video(tmp_path / 'v.avi')
    mine = tmp_path / 'out' / 'wave' / 'v' / 'frame_1.png'
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b'mine')

    with pytest.raises(FileExistsError, match='frame_1.png'):
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

"""Files that never end, or that wait for ever, met by readers and by loader workers.

Files are opened in processes of their own: what hangs or crashes there fails the test.
"""
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.fileio import FileClient

from cosam_mm.datasets import unreadable_samples, video_decoders
from cosam_mm.datasets.reid import tracklet_loading
from cosam_mm.datasets.reid.tracklet_loading import LoadTrackletFrames
from cosam_mm.datasets.transforms import SafeRawFrameDecode
from cosam_mm.datasets.unreadable_samples import (
    MAX_GIVEN_UP,
    UnreadableSample,
    each_within,
    forget_given_up,
    tick,
    within,
)
from cosam_mm.datasets.video_reader import UnreadableVideo, VideoReader
from tests.video_data import write_video

HOLES = 1 << 40  # bytes of nothing
KINDS = ('reader', 'opencv', 'stream')
LIMIT = 120  # seconds, after which a case counts as hung
READ = """
import json, sys
import cosam_mm
from cosam_mm.datasets.image_files import UnreadableImage, read_image
from cosam_mm.datasets.video_reader import (
    UnreadableVideo, VideoReader, read_all_frames)
calls = dict(
    reader=lambda path: VideoReader(path, time_limit=1),
    opencv=lambda path: VideoReader(path, time_limit=1, backend='opencv'),
    stream=lambda path: read_all_frames(path, list, 1), image=read_image)
found = []
for argument in sys.argv[1:]:
    kind, path = argument.split(' ', 1)
    try:
        calls[kind](path)
        found.append('read')
    except (UnreadableVideo, UnreadableImage) as error:
        found.append(str(error))
print(json.dumps(found))
"""
LOAD = """
import json, sys
import cosam_mm, mmaction.datasets
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, DefaultScope
from torch.utils.data import DataLoader
from cosam_mm.datasets.unreadable_samples import notes_of
if __name__ == '__main__':
    with DefaultScope.overwrite_default_scope('mmaction'):
        steps = [
            dict(type='SafeDecordInit', time_limit=1, on_unreadable=sys.argv[2]),
            dict(type='SampleFrames', clip_len=4, test_mode=True),
            dict(type='SafeDecordDecode'),
            dict(type='FormatShape', input_format='NCTHW'),
            dict(type='PackActionInputs', meta_keys=('sample_id', 'unreadable'))]
        dataset = DATASETS.build(dict(
            type='ActionVideoDataset', data_root=sys.argv[1], name='x', num_classes=2,
            ann_file='list.txt', pipeline=steps, test_mode=sys.argv[2] == 'blank'))
    samples = [
        sample for _ in range(2) for batch in DataLoader(
            dataset, batch_size=2, num_workers=1, collate_fn=pseudo_collate,
            multiprocessing_context='fork') for sample in batch['data_samples']]
    print(json.dumps([[s.metainfo['sample_id'], int(s.gt_label), notes_of(s)]
                      for s in samples]))
"""


def run(code, *arguments):
    done = subprocess.run(
        [sys.executable, '-c', code, *map(str, arguments)], timeout=LIMIT,
        capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def with_holes(path):
    """A video that is cut, then a TB of zeros; it takes no room on the disk."""
    data = Path(path).read_bytes()
    Path(path).write_bytes(data[:len(data) * 2 // 3])
    os.truncate(path, HOLES)
    return path


@pytest.fixture
def odd(tmp_path):
    """Path of each odd file -> what has to be said of it."""
    (tmp_path / 'itself.avi').write_text('ffconcat version 1.0\nfile itself.avi\n')
    (tmp_path / 'live.m3u8').write_text(
        '#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nlive.m3u8\n')
    (tmp_path / 'feed.mp4').write_text('\ufeff <?xml version="1.0"?><MPD></MPD>')
    os.mkfifo(tmp_path / 'pipe.avi')
    (tmp_path / 'loop.avi').symlink_to('loop.avi')
    (tmp_path / 'zero.avi').symlink_to('/dev/zero')
    (tmp_path / 'folder.avi').mkdir()
    playlist = 'it is a playlist or other text, not a video'
    return {str(tmp_path / name): words for name, words in {
        'itself.avi': playlist, 'live.m3u8': playlist, 'feed.mp4': playlist,
        'pipe.avi': 'it is a named pipe, not a file',
        'loop.avi': 'Too many levels of symbolic links',
        'zero.avi': 'it is a device, not a file',
        'folder.avi': 'it is a folder, not a file'}.items()}


def read(kinds, paths):
    return run(READ, *(f'{kind} {path}' for kind, path in zip(kinds, paths)))


def test_what_is_no_video_or_image(odd, tmp_path):
    """decord dies of a playlist that names itself and hangs in one that goes on."""
    path = tmp_path / 'holes.jpg'
    path.touch()
    os.truncate(path, HOLES)
    kinds = [*(kind for kind in KINDS for _ in odd), *['image'] * (len(odd) + 1)]
    *found, holes = read(kinds, [*odd] * 4 + [str(path)])
    assert '1,099,511,627,776 bytes' in holes
    count = len(odd)
    assert found[:3 * count] == [*odd.values()] * 3
    for words, reason in zip(odd.values(), found[3 * count:]):
        assert reason.startswith('it does not decode' if 'playlist' in words else words)


def test_file_without_end(tmp_path):
    paths = [with_holes(write_video(tmp_path / f'{kind}.avi', 30, 'XVID'))
             for kind in KINDS]
    for reason in read(KINDS, paths):
        assert 'stuck' in reason


@pytest.mark.parametrize('backend', [None, 'opencv'])
def test_reader_that_is_left_behind_ends(tmp_path, backend):
    """It would take a core from the others, and from the end of the process."""
    path = with_holes(write_video(tmp_path / 'a.avi', 30, 'XVID'))
    with pytest.raises(UnreadableVideo, match='stuck'):
        VideoReader(path, time_limit=0.5, backend=backend)
    forget_given_up()
    for thread in threading.enumerate():
        if thread.name.startswith('reading'):
            thread.join(30)
            assert not thread.is_alive()


@pytest.mark.parametrize('policy', ['skip', 'blank'])
def test_workers_go_on(tmp_path, policy):
    """The clip is named with each sample that stands in for it, in two epochs."""
    (tmp_path / 'videos').mkdir()
    good = [write_video(tmp_path / 'videos' / f'{k}.avi', 8, 'XVID') for k in range(3)]
    path = with_holes(write_video(tmp_path / 'videos' / 'holes.avi', 30, 'XVID'))
    (tmp_path / 'list.txt').write_text(
        'holes.avi 1\n' + ''.join(f'{k}.avi 0\n' for k in range(len(good))))
    samples = run(LOAD, tmp_path, policy)
    assert len(samples) == 8
    marked = [sample for sample in samples if sample[2]]
    assert len(marked) == 2
    for name, label, notes in marked:
        assert (label == 1) == (name == 'holes') == (policy == 'blank')
        assert {(outcome, file) for outcome, file, _ in notes} == {
            ('skipped' if policy == 'skip' else 'blank', path)}
        assert 'stuck' in notes[0][2]


def test_frames_of_pipes(tmp_path):
    """A folder of images, one of which is a pipe."""
    for kind in ('img', 'flow_x', 'flow_y'):
        os.mkfifo(tmp_path / f'{kind}_00001.jpg')
    for modality, template, name in (
            ('RGB', 'img_{:05}.jpg', 'img_00001.jpg'),
            ('Flow', 'flow_{}_{:05}.jpg', 'flow_x_00001.jpg')):
        results = dict(frame_dir=str(tmp_path), filename_tmpl=template,
                       modality=modality, frame_inds=np.arange(1, 3))
        assert SafeRawFrameDecode().transform(results) is None
        assert results['unreadable_samples'] == [UnreadableSample(
            'skipped', str(tmp_path),
            f'UnreadableVideo: {name}: it is a named pipe, not a file')]


def test_many_images_are_no_stall(tmp_path, monkeypatch):
    """Reading them all takes longer than the limit, each a fraction of it."""
    for number in range(1, 13):
        path = str(tmp_path / f'img_{number:05}.jpg')
        cv2.imwrite(path, np.zeros((8, 8, 3), np.uint8))
    read = FileClient.get

    def slowly(client, path):
        time.sleep(0.1)
        return read(client, path)
    monkeypatch.setattr(FileClient, 'get', slowly)
    found = SafeRawFrameDecode(time_limit=0.6).transform(dict(
        frame_dir=str(tmp_path), filename_tmpl='img_{:05}.jpg', modality='RGB',
        frame_inds=np.arange(1, 13)))
    assert len(found['imgs']) == 12
    paths = [str(path) for path in tmp_path.iterdir()]

    def slow_image(path, white_level):
        time.sleep(0.1)
        return np.zeros((8, 8, 3), np.uint8)
    monkeypatch.setattr(tracklet_loading, 'read_image', slow_image)
    found = LoadTrackletFrames(time_limit=0.6)(dict(
        img_paths=paths, frame_inds=np.arange(12)))
    assert len(found['imgs']) == 12


# What happens to the call that hangs.


@pytest.fixture
def pipe(tmp_path):
    """Opening it to read waits until somebody writes."""
    path = tmp_path / 'pipe.avi'
    os.mkfifo(path)
    yield str(path)
    os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK))  # ends who still waits
    forget_given_up()


def open_pipe(path):
    return os.close(os.open(path, os.O_RDONLY))


def test_result_and_error(tmp_path):
    for _ in range(2):
        assert within(5, 'a', len, 'abc') == 3
        with pytest.raises(FileNotFoundError):
            within(5, 'a', open_pipe, tmp_path / 'b')
    assert list(each_within(5, 'a', iter([1, 0, 3]))) == [1, 0, 3]


def test_pipe_is_given_up_once(pipe):
    start = time.monotonic()
    with pytest.raises(TimeoutError, match='0.2 s'):
        within(0.2, pipe, open_pipe, pipe)
    with pytest.raises(TimeoutError, match='before'):
        within(60, pipe, open_pipe, pipe)
    assert 0.2 <= time.monotonic() - start < 3


@pytest.mark.parametrize('ahead', [False, True])
def test_length_is_no_stall(tmp_path, monkeypatch, ahead):
    """Decoding takes three times the limit, each frame a fraction of it."""
    def slowly(path, wanted, num_threads):
        for _ in range(30):
            time.sleep(0.05)
            tick()
        yield np.zeros((8, 8, 3), np.uint8)
    reader = VideoReader(write_video(tmp_path / 'a.avi', 3), ahead=ahead,
                         time_limit=0.5)
    monkeypatch.setitem(video_decoders.DECODERS, 'pyav', slowly)
    assert reader.get_batch([0]).shape == (1, 8, 8, 3)


def test_item_that_hangs(pipe):
    def items():
        yield 1
        yield 2
        yield open_pipe(pipe)

    found = []
    with pytest.raises(TimeoutError, match='0.1 s'):
        found.extend(each_within(0.1, pipe, items()))
    assert found == [1, 2]


def test_many_that_do_not_come_back(pipe):
    names = [f'{pipe}{k}' for k in range(MAX_GIVEN_UP)]
    for name in names[:-1]:
        with pytest.raises(TimeoutError):
            within(0.02, name, open_pipe, pipe)
    with pytest.raises(RuntimeError, match='time_limit') as info:
        within(0.02, names[-1], open_pipe, pipe)
    assert all(name in str(info.value) for name in names)


@pytest.mark.parametrize('comes_back', [True, False])
def test_ctrl_c_while_waiting(pipe, monkeypatch, comes_back):
    """A decoder that comes back while Python ends would abort the process."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(unreadable_samples, 'GRACE_SECONDS', 1 if comes_back else 0.1)
    timer = threading.Timer(0.25, os.kill, (os.getpid(), signal.SIGINT))
    ended, begun = [], time.monotonic()

    def read():
        if comes_back:
            time.sleep(0.6)
            ended.append(True)
        else:
            open_pipe(pipe)

    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            within(60, pipe, read)
    finally:
        timer.join()
        signal.signal(signal.SIGINT, before)
    assert ended == [True] * comes_back
    assert time.monotonic() - begun < 10

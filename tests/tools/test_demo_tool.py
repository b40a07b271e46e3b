"""``tools/demo.py`` as a process: the classes of a video file."""
import csv
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import av
import cv2
import numpy as np
import pytest
import torch

from cosam_mm import ActionRecognizer
from cosam_mm.datasets.frame_stream import LiveFrames
from cosam_mm.datasets.video_reader import VideoReader
from cosam_mm.evaluation.metrics.action_metric import load_scores
from cosam_mm.utils.io import read_checkpoint
from tests.tool_process import ENVIRONMENT, LIMIT, REPO, assert_refused

TOOL = 'tools/demo.py'
CLIP = 'class 1/clip (a&b) 1'


@pytest.fixture(scope='module')
def video(demo_root):
    return demo_root / 'videos' / f'{CLIP}.avi'


@pytest.fixture(scope='module')
def expected(nest, trained, tiny_config, demo_root, tmp_path_factory):
    """(name, per cent) of each class, computed from the scores of a test."""
    cwd = tmp_path_factory.mktemp('scores')
    nest.ok('tools/test.py', tiny_config, trained / 'epoch_2.pth',
            '--data-root', demo_root, '--dump', 'scores.npz', cwd=cwd)
    scores = load_scores(cwd / 'scores.npz')
    score = scores['score'][scores['sample_id'].tolist().index(CLIP)].astype(float)
    names = (demo_root / 'demo_classes.txt').read_text().splitlines()
    share = 100 * np.exp(score) / np.exp(score).sum()
    return [(names[k], share[k]) for k in np.argsort(-score)]


def read(printed):
    """(name, per cent) of each class."""
    return [(name, float(share)) for share, name in
            re.findall(r'^ +([\d.]+)%  (.*)$', printed, re.M)]


def assert_same(printed, expected):
    found = read(printed)
    assert [name for name, _ in found] == [name for name, _ in expected]
    for (_, share), (_, other) in zip(found, expected):
        assert share == pytest.approx(other, abs=0.02)


def test_checkpoint_alone(nest, trained, video, expected, tmp_path):
    """The data root in the checkpoint's config is not looked at."""
    shutil.copy(trained / 'epoch_2.pth', tmp_path / 'model.pth')
    shutil.copy(video, tmp_path / 'my video (1).avi')
    done = nest.ok(TOOL, 'model.pth', 'my video (1).avi', '--topk', 3, cwd=tmp_path)
    assert done.stdout.startswith('my video (1).avi\n')
    assert_same(done.stdout, expected[:3])


def test_config_and_checkpoint(nest, trained, tiny_config, video, expected, tmp_path):
    done = nest.ok(TOOL, tiny_config, video, '--checkpoint', trained / 'epoch_2.pth',
                   cwd=tmp_path)
    assert f'checkpoint {trained / "epoch_2.pth"}\n' in done.stdout
    assert_same(done.stdout, expected[:5])


def test_fast(nest, trained, video, expected, tmp_path):
    done = nest.ok(TOOL, trained / 'epoch_2.pth', video, video, '--fast', '--topk', 1,
                   cwd=tmp_path)
    first, second = read(done.stdout)
    assert first == second
    assert first[1] == pytest.approx(expected[0][1], abs=1)


def test_config_alone_finds_the_work_dir(nest, training, tiny_config, video, tmp_path):
    done = nest.ok(TOOL, tiny_config, video, video, '--topk', 99, cwd=training[1])
    assert re.match(r'checkpoint work_dirs/tiny/split1/best_acc_top1_epoch_\d.pth\n',
                    done.stdout)
    found = read(done.stdout)
    assert found[:8] == found[8:]  # of both videos; there are 8 classes
    assert sum(share for _, share in found[:8]) == pytest.approx(100, abs=0.1)
    assert_refused(nest.run(TOOL, tiny_config, video, cwd=tmp_path), 'checkpoint')


def test_config_in_a_checkpoint_is_not_executed(nest, trained, video, tmp_path):
    line = "work_dir = __import__('os').system('touch harm')"
    checkpoint = read_checkpoint(trained / 'epoch_2.pth')
    checkpoint['meta']['cfg'] += f'\n{line}\n'
    number = len(checkpoint['meta']['cfg'].splitlines())
    torch.save(checkpoint, tmp_path / 'bad.pth')
    assert_refused(nest.run(TOOL, 'bad.pth', video, cwd=tmp_path), f'Line {number} ')
    assert not (tmp_path / 'harm').exists()


def test_a_broken_video_ends_no_batch(nest, trained, video, expected, tmp_path):
    (tmp_path / 'broken.avi').write_bytes(b'RIFF' + bytes(500))
    for more in ([], ['--every', 1, '--views', 'test']):
        done = nest.run(TOOL, trained / 'epoch_2.pth', 'no.mp4', video, 'broken.avi',
                        '--topk', 1, *more, cwd=tmp_path)
        assert done.returncode == 1
        for word in ('no.mp4', 'broken.avi', '2 of 3'):
            assert word in done.stderr
        assert_same(re.sub(r'(?m)^  00:\S+ +00:\S+', ' ', done.stdout), expected[:1])
    assert_refused(nest.run(TOOL, trained / 'epoch_2.pth', 'broken.avi', cwd=tmp_path),
                   'broken.avi')


# -- long videos -------------------------------------------------------------------


@pytest.fixture(scope='module')
def film(tmp_path_factory):
    """6 s of 25 frames a second; the scene changes after 2.4 s."""
    path = tmp_path_factory.mktemp('film') / 'film.mp4'
    rng = np.random.default_rng(3)
    scenes = [cv2.resize(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8), (98, 80))
              for _ in range(2)]
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('libx264', rate=25, width=98, height=80)
        for k in range(150):
            image = np.roll(scenes[k >= 60], 2 * k, axis=1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image)))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope='module')
def tells_scenes(trained, film, tmp_path_factory):
    """A checkpoint that gives the film's first scene class 0 and the second class 1."""
    path = tmp_path_factory.mktemp('scenes') / 'm.pth'
    recognizer = ActionRecognizer(trained / 'epoch_2.pth', device='cpu')
    frames = VideoReader(film).get_batch(range(150))
    first, second = (torch.from_numpy(recognizer.predict(
        part, views='center', return_feature=True).feature)
        for part in (frames[:60], frames[60:]))
    checkpoint = read_checkpoint(trained / 'epoch_2.pth')
    weight, bias = (checkpoint['state_dict'][f'cls_head.fc_cls.{name}']
                    for name in ('weight', 'bias'))
    axis = 4 * (first - second) / (first - second).square().sum()
    weight.zero_()[:2] = torch.stack([axis, -axis])
    bias.fill_(-9)[:2] = weight[:2] @ -(first + second) / 2
    torch.save(checkpoint, path)
    return path


def windows_of(printed):
    """(start, end, class, per cent) of each window."""
    return [(start, end, name, float(share)) for start, end, share, name in re.findall(
        r'^  (\S+:\S+)  (\S+:\S+) +([\d.]+)%  (.*)$', printed, re.M)]


def test_events_of_a_film(nest, tells_scenes, film, tmp_path):
    def run(*options):
        return nest.run(TOOL, tells_scenes, film, '--every', 0.8,
                        *options, cwd=tmp_path)

    done = run('--out', 'events.csv', '--overlay', 'o.mp4')
    assert done.returncode == 0, done.stderr
    rows = windows_of(done.stdout)
    assert [row[:2] for row in rows[:2]] == [
        ('00:00:00.000', '00:00:00.800'), ('00:00:00.800', '00:00:01.600')]
    assert (len(rows), rows[-1][1]) == (8, '00:00:06.000')
    with open(tmp_path / 'events.csv', newline='') as file:
        events = list(csv.DictReader(file))
    borders = [0, *(k for k in range(1, 8) if rows[k][2] != rows[k - 1][2]), 8]
    assert len(borders) > 2  # the scenes differ
    for first, end, event in zip(borders, borders[1:], events):
        assert event['name'] == rows[first][2]
        assert float(event['start']) == pytest.approx(0.8 * first, abs=0.41)
        assert float(event['probability']) == pytest.approx(np.mean(
            [row[3] for row in rows[first:end]]) / 100, abs=1e-3)
    assert len(events) == len(borders) - 1
    assert float(events[-1]['end']) == 6

    done = run('--out', 'events.srt')
    assert done.returncode == 0, done.stderr
    with av.open(str(tmp_path / 'events.srt')) as container:
        cues = [packet for packet in container.demux() if packet.size]
    assert [bytes(cue).decode().rpartition(' ')[0] for cue in cues] == [
        event['name'] for event in events]
    for cue, event in zip(cues, events):
        assert (cue.pts, cue.pts + cue.duration) == (
            round(1000 * float(event['start'])), round(1000 * float(event['end'])))
    assert b'00:00:00,000 --> ' in (tmp_path / 'events.srt').read_bytes()

    with av.open(str(tmp_path / 'o.mp4')) as container, av.open(str(film)) as source:
        assert container.streams.video[0].average_rate == 25
        pairs = list(zip(container.decode(video=0), source.decode(video=0)))
    assert len(pairs) == 150
    for drawn, plain in pairs[::50]:
        assert drawn.time == pytest.approx(plain.time, abs=1e-4)
        difference = np.abs(drawn.to_ndarray(format='rgb24').astype(int)
                            - plain.to_ndarray(format='rgb24')).mean((1, 2))
        assert difference[:12].mean() > 30  # the band with the name
        assert difference[30:].mean() < 12
    assert_refused(run('--out', 'events.csv'), 'overwrite')
    assert_refused(run('--overlay', film, '--overwrite'), 'itself')


@pytest.mark.parametrize('arguments', [
    ('--out', 'a.csv'), ('--every', 1, '--out', 'a.txt'), ('--window', 2),
    ('--every', 1, '--smooth', 2), ('--every', 0)])
def test_wrong_options(nest, trained, film, tmp_path, arguments):
    assert_refused(nest.run(TOOL, trained / 'epoch_2.pth', film, *arguments,
                            cwd=tmp_path), arguments[-2].lstrip('-'))
    assert not list(tmp_path.iterdir())


def test_how_much_was_seen(nest, trained, film, video, tmp_path):
    done = nest.ok(TOOL, trained / 'epoch_2.pth', film, video, cwd=tmp_path)
    assert done.stdout.count('looked at') == 1
    assert '32 of 150 frames' in done.stdout


class Server(ThreadingHTTPServer):
    """Serves bytes at a steady pace, without saying how many."""

    def __init__(self, data, seconds):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.end_headers()
                with suppress(OSError):  # the tool was stopped
                    for part in range(100):
                        self.wfile.write(data[len(data) * part // 100:
                                              len(data) * (part + 1) // 100])
                        time.sleep(seconds / 100)

            def log_message(self, *args):
                pass

        super().__init__(('127.0.0.1', 0), Handler)
        self.url = f'http://127.0.0.1:{self.server_port}/a'
        Thread(target=self.serve_forever, daemon=True).start()


@pytest.fixture(scope='module')
def transport_stream(film):
    """The film as MPEG-TS, not encoded again."""
    path = film.with_suffix('.ts')
    with av.open(str(film)) as source, av.open(str(path), 'w') as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                container.mux(packet)
    return path


def test_stream_until_it_ends(nest, trained, film, transport_stream, tmp_path):
    """Windows are those of the file, as long as no frame is dropped."""
    model = trained / 'epoch_2.pth'
    with Server(transport_stream.read_bytes(), 4) as server:
        done = nest.ok(TOOL, model, server.url, '--every', 2, '--out', 'a.csv',
                       '--window', 60, cwd=tmp_path)
    expected = nest.ok(TOOL, model, film, '--every', 2, '--window', 60, cwd=tmp_path)
    assert windows_of(done.stdout) == windows_of(expected.stdout)
    assert ' 0 frames were dropped' in done.stdout
    assert len((tmp_path / 'a.csv').read_text().splitlines()) == 2
    closed = f'http://127.0.0.1:{server.server_port}/a'
    assert_refused(nest.run(TOOL, model, closed, '--every', 2, cwd=tmp_path), 'PyAV')
    assert_refused(nest.run(TOOL, model, closed, cwd=tmp_path), 'no video')
    assert_refused(nest.run(TOOL, model, '77', '--every', 2, cwd=tmp_path), 'camera')


def test_frames_that_nobody_takes_are_dropped(transport_stream):
    with Server(transport_stream.read_bytes(), 1) as server:
        frames, taken = LiveFrames(server.url, 1.), []
        for frame in frames:
            if len(taken) == 10:
                time.sleep(4)
            taken.append(frame)
    assert [k for k, frame in enumerate(taken) if frame.after_gap] == [11]
    steps = np.diff([frame.time for frame in taken])
    np.testing.assert_allclose(np.delete(steps, 10), 0.04, atol=1e-3)
    assert frames.num_dropped == round(steps[10] / 0.04) - 1 > 50
    assert taken[-1].time == pytest.approx(5.96, abs=1e-3)
    assert 0.9 < taken[-1].time - taken[11].time < 1.01


def test_stream_until_ctrl_c(trained, transport_stream, tmp_path):
    with Server(10 * transport_stream.read_bytes(), 60) as server:
        tool = subprocess.Popen(
            [sys.executable, REPO / TOOL, trained / 'epoch_2.pth', server.url,
             '--every', '0.4', '--out', 'a.srt'], cwd=tmp_path, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=dict(ENVIRONMENT, PYTHONPATH=str(REPO)))
        lines = [tool.stdout.readline() for _ in range(4)]
        tool.send_signal(signal.SIGINT)
        rest, errors = tool.communicate(timeout=LIMIT)
    assert tool.returncode == 0, errors
    assert 'Traceback' not in errors
    assert len(windows_of(''.join(lines))) == 3
    assert 'frames were dropped' in rest
    assert ' --> ' in (tmp_path / 'a.srt').read_text()

"""Every guard that docs/fault_tolerance.md promises keeps a file from something.

Each file is read twice, in processes of their own with 3 GiB of memory: as the package
does, and with the guard taken out. Then the file must succeed, or it proves nothing.
"""
import inspect
import json
import os
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Callable, NamedTuple

import numpy as np
import pytest
import torch

from cosam_mm.utils.io import read_checkpoint
from projects.fault_injection import hostile_files, oversized_files
from tests.engine.test_checkpoint_hook import make_runner
from tests.hostile_records import Tensor, write_records
from tests.video_data import write_video

REPO = Path(__file__).resolve().parents[2]
LEAST, MOST = 800 << 20, 600 << 20  # bytes that are too many, and that are not
PROBE = """
import json, os, resource, signal, sys
from pathlib import Path
import numpy as np
import torch
import cosam_mm
from cosam_mm.utils import io

def peak():
    status = Path('/proc/self/status').read_text()
    return int(status.split('VmHWM:')[1].split()[0]) << 10

class Hang(BaseException):
    pass

def hang(*_):
    raise Hang

pages = int(Path('/proc/self/statm').read_text().split()[0])
most = pages * resource.getpagesize() + (3 << 30)
resource.setrlimit(resource.RLIMIT_AS, (most, most))
Path('/proc/self/clear_refs').write_text('5')  # forget the peak
before, outcome = peak(), 'done'
signal.signal(signal.SIGALRM, hang)
signal.alarm(30)
try:
    exec(sys.argv[2])
    exec(sys.argv[1])
except BaseException as error:
    outcome = f'{type(error).__name__}: {error}'
print(json.dumps([outcome, peak() - before]))
"""


class Guard(NamedTuple):
    """What reads a file, and what takes the guard out."""
    make: Callable  # from a folder, a marker and an address: writes the file
    call: str
    removal: str
    effect: str  # without the guard: 'code', 'address', 'memory', 'deletion',
    # 'hang', 'done'
    refusal: str  # a word of it


def write_matrix(path: Path, name: str) -> Path:
    """A .mat file of version 5 with a compressed number that claims 4 GB."""
    def element(kind: int, data: bytes, claimed: int) -> bytes:
        return struct.pack('<II', kind, claimed) + data + bytes(-len(data) % 8)

    parts = [(6, struct.pack('<II', 6, 0)), (5, struct.pack('<ii', 8, 1)),
             (1, name.encode())]
    data = b''.join(element(kind, part, len(part)) for kind, part in parts)
    data = element(14, data + element(9, bytes(64), 0xffffffc0), 0xffffffff)
    data = zlib.compress(data)
    path.write_bytes(b'MATLAB 5.0'.ljust(124) + struct.pack('<H', 0x100) + b'IM'
                     + struct.pack('<II', 15, len(data)) + data)
    return path


def write_large_frames(path: str, side: int = 8190, count: int = 5) -> None:
    """A video of black frames, as large as an encoder makes them."""
    import av
    with av.open(path, 'w') as container:
        stream = container.add_stream('mpeg4', rate=25)
        stream.width, stream.height, stream.pix_fmt = side, side, 'yuv420p'
        frame = av.VideoFrame(side, side, 'yuv420p')
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        for number in range(count):
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def write_elsewhere(write: Callable, path: Path) -> None:
    """Write a file in a process in which this package limits nothing."""
    code = f'{inspect.getsource(write)}\n{write.__name__}({str(path)!r})'
    subprocess.run([sys.executable, '-c', code], check=True)


def write_index(folder, *_):
    """A FAISS index beside a gallery, a vector of which claims 1.2 GB."""
    from cosam_mm.apis.gallery_faiss import nearest_by_faiss
    features = np.random.default_rng(0).normal(size=(500, 16)).astype(np.float32)
    np.save(folder / 'g.npy', features)
    nearest_by_faiss(features[:1], features, 1, factory='HNSW32',
                     path=str(folder / 'g.npz'))
    path, = folder.glob('*.faiss')
    data, count = path.read_bytes(), struct.pack('<Q', 500)
    first = data.index(count, data.index(count) + 8)  # behind the number of features
    (folder / 'evil.faiss').write_bytes(
        data[:first] + struct.pack('<Q', 300_000_000) + data[first + 8:])
    (folder / 'path.txt').write_text(path.name)


def write_playlist(folder, *_):
    write_video(folder / 'secret.avi', 3)
    (folder / 'a.avi').write_text("ffconcat version 1.0\nfile 'secret.avi'\n")


def write_order_to_delete(folder, *_):
    """A training whose checkpoint calls something else its best one."""
    make_runner(folder / 'work', epochs=1).train()
    path, victim = folder / 'work/epoch_1.pth', folder / 'work/thesis.tex'
    content = read_checkpoint(path)
    content['message_hub']['runtime_info']['best_ckpt'] = str(victim)
    torch.save(content, path)
    victim.write_text('years of work')


def write_damaged(folder, *_):
    shutil.copy(REPO / 'tests/data/written_by_0_1/action.pth', folder / 'a.pth')
    hostile_files.flip_a_bit(folder / 'a.pth')


LOAD_ALL = """
load = torch.load
torch.load = lambda *args, **options: load(*args, **dict(options, weights_only=False))
"""
LOAD_PICKLES = """
read = np.lib.format.read_array
np.lib.format.read_array = lambda file, **_: read(file, allow_pickle=True)
"""
BY_MMENGINE = """
from mmengine.runner import CheckpointLoader
os.environ['TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'] = '1'
with io.loading_weights_only():
    CheckpointLoader.load_checkpoint('a.pth')
"""
NO_RESTRICTION = """
from cosam_mm.utils import config_of_checkpoint as config
config.restrict_types = lambda node: None
"""
READ_CONFIG = """
from cosam_mm.utils import config_of_checkpoint as config
config.config_of_checkpoint(Path('config.py').read_text())
"""
EXECUTE = """
from mmengine.config import Config
from cosam_mm.utils import config_of_checkpoint as config
config.config_of_checkpoint = lambda text: Config.fromstring(text, '.py')
"""
SEARCH = """
import shutil
shutil.copy('evil.faiss', Path('path.txt').read_text())
from cosam_mm.apis.gallery_faiss import nearest_by_faiss
features = np.load('g.npy')
found = nearest_by_faiss(features[:1], features, 1, factory='HNSW32', path='g.npz')
assert found.index.tolist() == [[0]]
"""
FRAMES = """
from cosam_mm.datasets.transforms import SafeRawFrameDecode
results = dict(frame_dir='.', filename_tmpl='img_{:05}.jpg', modality='RGB',
               frame_inds=np.arange(1, 2))
assert SafeRawFrameDecode().transform(results) is None
raise ValueError(results['unreadable_samples'][0].reason)
"""
NO_LIMIT = """
from cosam_mm.datasets import frame_index, video_decoders
frame_index.limit_memory = video_decoders.limit_memory = lambda *_: None
"""
NO_PATH_CHECK = """
from pathlib import PurePosixPath
from cosam_mm.datasets.preparation import annotation_files
class Blind(PurePosixPath):
    is_absolute = lambda self: False
    parts = ()
annotation_files.PurePosixPath = Blind
"""
RESUME = """
from tests.engine.test_checkpoint_hook import make_runner
make_runner('work', epochs=2, resume=True, scores=(1, 2),
            load_from='work/epoch_1.pth').train()
"""
READ_ARRAYS = "io.read_arrays('a.npz', 'score file')"
READ_VIDEO = """
from cosam_mm.datasets.video_reader import VideoReader
reader = VideoReader('a.avi')
assert len(reader.get_batch(range(len(reader))))
"""
GUARDS = {
    'checkpoint': Guard(
        lambda folder, marker, url: hostile_files.write_checkpoint(
            folder / 'a.pth', marker),
        "io.read_checkpoint('a.pth')", LOAD_ALL, 'code', 'would run exec'),
    'checkpoint by mmengine': Guard(
        lambda folder, marker, url: hostile_files.write_checkpoint(
            folder / 'a.pth', marker), BY_MMENGINE,
        'import contextlib; io.loading_weights_only = contextlib.nullcontext', 'code',
        'would run exec'),
    'damage': Guard(
        write_damaged, "io.read_checkpoint('a.pth')",
        'io.check_checkpoint = lambda path: None', 'done', 'checksum'),
    'claimed tensor': Guard(
        lambda folder, *_: write_records(
            folder / 'a.pth', dict(a=Tensor(1, (300_000_000,), (0,))),
            {'data/0': bytes(4)}), "io.read_checkpoint('a.pth')['a'].clone()",
        'io.check_sizes = lambda *_: None', 'memory', 'no room'),
    'deletion': Guard(
        write_order_to_delete, RESUME,
        'from cosam_mm.engine.hooks import checkpoint_hook\n'
        'checkpoint_hook.disarm = lambda *_: None', 'deletion', 'done'),
    'types of a config': Guard(
        lambda folder, marker, url: hostile_files.change_config(
            REPO / 'tests/data/written_by_0_1/action.pth', folder / 'a.pth',
            lambda cfg: hostile_files.make_hostile(cfg, 'address', url)),
        "cosam_mm.ActionRecognizer('a.pth', device='cpu')", NO_RESTRICTION, 'address',
        'out of a file'),
    'config of a work dir': Guard(
        lambda folder, marker, url: (folder / 'config.py').write_text(
            hostile_files.EVIL_CONFIG.format(str(marker))),
        READ_CONFIG, EXECUTE, 'code', 'ValueError'),
    'pickled arrays': Guard(
        lambda folder, marker, url: hostile_files.write_arrays(
            folder / 'a.npz', marker, ['score']),
        READ_ARRAYS, LOAD_PICKLES, 'code', 'allow_pickle=False'),
    'claimed arrays': Guard(
        lambda folder, *_: oversized_files.write_claiming_arrays(
            folder / 'a.npz', ['score']),
        READ_ARRAYS, 'import math; math.prod = lambda shape: 0', 'memory', 'too few'),
    'inflated arrays': Guard(
        lambda folder, *_: oversized_files.write_inflating_arrays(
            folder / 'a.npz', ['score']),
        READ_ARRAYS, 'io._MAX_INFLATED = 1 << 60', 'memory', 'claim'),
    'FAISS index': Guard(
        write_index, SEARCH, 'import faiss\nfor name in ("vector_byte_limit", '
        '"loop_limit"): delattr(faiss, f"set_deserialization_{name}")', 'memory',
        'done'),
    'matrix': Guard(
        lambda folder, *_: write_matrix(folder / 'a.mat', 'a'),
        "from cosam_mm.datasets.reid import matfile\n"
        "matfile.read_integer_matrix('a.mat', 'a')",
        'from cosam_mm.datasets.reid import matfile\n'
        'matfile._check_types = lambda path: None', 'memory', 'are there'),
    'image': Guard(
        lambda folder, *_: oversized_files.write_image(folder / 'a.png'),
        "from cosam_mm.datasets.image_files import read_image\nread_image('a.png')",
        'from PIL import Image; Image.MAX_IMAGE_PIXELS = None', 'memory', '900000000'),
    'extracted frame': Guard(
        lambda folder, *_: oversized_files.write_image(folder / 'img_00001.jpg'),
        FRAMES, 'from cosam_mm.datasets.transforms import video_loading\n'
        'video_loading.open_image = len', 'memory', '900000000'),
    'frames of a video': Guard(
        lambda folder, *_: oversized_files.write_video(folder / 'a.avi'), READ_VIDEO,
        NO_LIMIT, 'memory', 'no frame'),
    'large frames': Guard(
        lambda folder, *_: write_elsewhere(write_large_frames, folder / 'a.avi'),
        READ_VIDEO, 'from cosam_mm.datasets import video_reader\n'
        'video_reader._MAX_PIXELS = 1 << 60', 'memory', '8,190'),
    'playlist': Guard(
        write_playlist, READ_VIDEO, 'from cosam_mm.datasets import video_reader\n'
        'video_reader.check_video_file = len', 'done', 'playlist'),
    'text without end': Guard(
        lambda folder, *_: oversized_files.write_holes(folder / 'a.json'),
        "io.read_text('a.json')", 'io._MAX_TEXT_BYTES = 1 << 60', 'memory',
        'more than'),
    'named pipe': Guard(
        lambda folder, *_: os.mkfifo(folder / 'a.json'), "io.read_text('a.json')",
        'signal.alarm(2); io.regular_size = lambda *args, **options: 1', 'hang',
        'named pipe'),
    'path of a list': Guard(
        lambda folder, *_: (folder / 'a.txt').write_text('../../secret.avi 0\n'),
        'from cosam_mm.datasets.preparation import annotation_files\n'
        "annotation_files.read_annotations('a.txt', 2, False)", NO_PATH_CHECK, 'done',
        'inside'),
}


def probe(nest, folder, call, removal=''):
    """How a call ended, and by how many bytes its memory grew."""
    path = folder / 'probe.py'
    path.write_text(PROBE)
    done = nest.run(path, call, removal, cwd=folder)
    assert done.stdout, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize('name', GUARDS)
def test_file_succeeds_without_its_guard_alone(nest, tmp_path, name):
    guard, marker = GUARDS[name], tmp_path / 'it ran'
    if name == 'FAISS index':
        faiss = pytest.importorskip('faiss')
        if not hasattr(faiss, 'set_deserialization_vector_byte_limit'):
            pytest.skip('FAISS 1.14 has the limit')
    with hostile_files.listener() as (url, asked):
        guard.make(tmp_path, marker, url)
        victims = list(tmp_path.rglob('*.tex'))
        outcome, growth = probe(nest, tmp_path, guard.call)
        assert guard.refusal in outcome
        assert growth < MOST
        assert not marker.exists()
        assert asked == []
        assert list(tmp_path.rglob('*.tex')) == victims
        outcome, growth = probe(nest, tmp_path, guard.call, guard.removal)
    found = dict(code=marker.exists(), address=bool(asked),
                 memory=growth > LEAST or 'MemoryError' in outcome,
                 deletion=list(tmp_path.rglob('*.tex')) != victims,
                 hang='Hang' in outcome, done=outcome == 'done')
    assert found[guard.effect], (outcome, growth)

"""Videos that are written and read back."""
import io
import struct
import sys

import numpy as np
import pytest
from PIL import Image, ImageSequence

from cosam_mm.visualization.video_writer import encode_video


@pytest.fixture
def images():
    """Grey frames of rising brightness, with odd sides."""
    return [np.full((33, 47, 3), 20 * number + 20, np.uint8) for number in range(7)]


def test_mp4_decodes_to_the_same_frames_and_has_its_index_in_front(images):
    av = pytest.importorskip('av')
    data = encode_video(images, fps=8)
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == 'h264'
        assert stream.codec_context.pix_fmt == 'yuv420p'
        assert stream.average_rate == 8
        decoded = [frame.to_ndarray(format='rgb24') for frame in container.decode()]
    assert len(decoded) == 7
    for image, frame in zip(images, decoded):
        assert frame.shape == (34, 48, 3)  # even
        assert abs(int(frame[:33, :47].mean()) - int(image[0, 0, 0])) <= 4
    kinds, start = [], 0
    while start < len(data):
        size, kind = struct.unpack('>I4s', data[start:start + 8])
        kinds.append(kind)
        start += size
    assert kinds.index(b'moov') < kinds.index(b'mdat')


def test_equal_images_give_equal_files(images):
    pytest.importorskip('av')
    blocks = np.random.default_rng(0).integers(0, 256, (4, 29, 44, 3), np.uint8)
    odd = list(blocks.repeat(8, 1).repeat(8, 2)[:, :, :348])  # no multiple of 16
    assert len({encode_video(iter(odd)) for _ in range(3)}) == 1
    assert len(encode_video(odd, quality=40)) < len(encode_video(odd))
    assert encode_video(images, 'gif') == encode_video(iter(images), 'gif')


def test_gif_loops_over_all_frames(images):
    with Image.open(io.BytesIO(encode_video(images, 'gif', fps=4))) as gif:
        assert gif.n_frames == 7
        assert gif.info['loop'] == 0
        assert gif.info['duration'] == 250
        levels = [np.asarray(frame.convert('RGB')).mean()
                  for frame in ImageSequence.Iterator(gif)]
    np.testing.assert_allclose(levels, range(20, 160, 20), atol=1)


@pytest.mark.parametrize(('count', 'kind', 'fps', 'word'), [
    (0, 'gif', 8, 'image'), (7, 'avi', 8, 'avi'), (7, 'gif', 0, 'fps .* 0'),
    (7, 'gif', 101, 'fps .* 101')])
def test_mistakes_are_refused(images, count, kind, fps, word):
    with pytest.raises(ValueError, match=word):
        encode_video(images[:count], kind, fps)


def test_without_pyav_the_message_names_it_and_gif_works(images, monkeypatch):
    monkeypatch.setitem(sys.modules, 'av', None)
    with pytest.raises(ImportError, match='install av'):
        encode_video(images)
    assert encode_video(images, 'gif')

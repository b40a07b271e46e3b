"""Videos that are written and read again."""
import builtins
import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageSequence

from cosam_mm.visualization.clip_file import encode_clip, encode_gif, encode_mp4


@pytest.fixture
def images():
    """Grey frames of rising brightness, with odd sides."""
    return [np.full((33, 47, 3), 20 * number + 20, np.uint8) for number in range(7)]


def test_mp4_decodes_to_the_same_frames(images):
    av = pytest.importorskip('av')
    data = encode_mp4(images, fps=8)
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == 'h264'
        assert stream.codec_context.pix_fmt == 'yuv420p'
        assert stream.average_rate == 8
        decoded = [frame.to_ndarray(format='rgb24') for frame in container.decode()]
    assert len(decoded) == 7
    for image, found in zip(images, decoded):
        assert found.shape == (34, 48, 3)  # even
        assert abs(int(found[:33, :47].mean()) - int(image[0, 0, 0])) <= 4


def test_mp4_has_its_index_in_front(images):
    pytest.importorskip('av')
    data, kinds, place = encode_mp4(images), [], 0
    while place < len(data):
        size, kind = struct.unpack('>I4s', data[place:place + 8])
        kinds.append(kind)
        place += size
    assert kinds.index(b'moov') < kinds.index(b'mdat')


def test_the_same_images_make_the_same_file(images):
    pytest.importorskip('av')
    assert encode_mp4(images) == encode_mp4(iter(images))
    blocks = np.random.default_rng(0).integers(0, 256, (8, 29, 44, 3), np.uint8)
    odd = list(blocks.repeat(8, 1).repeat(8, 2)[:, :, :348])  # no multiple of 16
    assert len({encode_mp4(odd) for _ in range(4)}) == 1
    assert encode_gif(images) == encode_gif(iter(images))


def test_quality_and_size():
    pytest.importorskip('av')
    noise = list(np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), np.uint8))
    assert len(encode_mp4(noise, quality=40)) < len(encode_mp4(noise, quality=20)) / 2


def test_gif_plays_all_frames_for_ever(images):
    with Image.open(io.BytesIO(encode_gif(images, fps=4))) as gif:
        assert gif.n_frames == 7
        assert gif.info['loop'] == 0
        assert gif.info['duration'] == 250
        levels = [np.asarray(frame.convert('RGB')).mean()
                  for frame in ImageSequence.Iterator(gif)]
    np.testing.assert_allclose(levels, range(20, 160, 20), atol=1)


@pytest.mark.parametrize('kind', ['mp4', 'gif'])
def test_mistakes(kind, images):
    if kind == 'mp4':
        pytest.importorskip('av')
    with pytest.raises(ValueError, match='needs at least one image'):
        encode_clip([], kind)
    for fps in (0, -1, 101):
        with pytest.raises(ValueError, match=f'fps must lie above 0 .* got {fps}'):
            encode_clip(images, kind, fps)
    with pytest.raises(ValueError, match=r"one of \('mp4', 'gif'\), got 'avi'"):
        encode_clip(images, 'avi')


def test_without_pyav_the_message_says_what_to_do(images, monkeypatch):
    genuine = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name == 'av':
            raise ImportError('No module named av')
        return genuine(name, *args, **kwargs)

    monkeypatch.setattr(builtins, '__import__', refuse)
    with pytest.raises(ImportError, match='pip install av, or write a GIF'):
        encode_mp4(images)
    assert encode_gif(images)

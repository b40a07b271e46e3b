"""One reader of images: every format, by path, as PIL image, in a tracklet folder."""
import io
import logging

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from cosam_mm.apis.video_input import read_frames
from cosam_mm.datasets.image_files import (
    UnreadableImage,
    list_images,
    read_image,
    rgb_pixels,
)
from cosam_mm.datasets.reid import LoadTrackletFrames
from tests.datasets.test_reid_frames import spoil

FORMATS = dict(jpg='JPEG', jpeg='JPEG', jfif='JPEG', png='PNG', bmp='BMP', webp='WEBP',
               tif='TIFF', tiff='TIFF', gif='GIF')
# Each corner has a colour of its own; corners of 32 x 16 survive JPEG.
CORNERS = np.kron(np.uint8([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [90, 90, 90]]]),
                  np.ones((32, 16, 1), np.uint8))


def assert_corners(pixels):
    assert (pixels.shape, pixels.dtype) == (CORNERS.shape, np.uint8)
    np.testing.assert_allclose(pixels[16::32, 8::16], CORNERS[16::32, 8::16], atol=9)


def by_path(path, **level):
    frame, = read_frames([str(path)], **level)
    return frame


def as_pil_image(path, **level):
    with Image.open(path) as image:
        frame, = read_frames([image], **level)
    return frame


def in_a_folder(path, **level):
    paths = [str(path.parent / name) for name in list_images(path.parent)]
    results = LoadTrackletFrames(**level)(
        dict(img_paths=paths, frame_inds=np.zeros((1, 1), int), tracklet_id='t'))
    if results is None:
        raise ValueError('8 bits')  # the log says it
    return results['imgs'][0]


WAYS = pytest.mark.parametrize('way', [by_path, as_pil_image, in_a_folder])


@WAYS
@pytest.mark.parametrize('suffix', FORMATS)
def test_every_format_has_the_same_pixels_whichever_way(tmp_path, suffix, way):
    path = tmp_path / f'ü %d [a]&b.{suffix.upper()}'
    Image.fromarray(CORNERS).save(path, FORMATS[suffix])
    pixels = way(path)
    assert_corners(pixels)
    # A decoder of other people: OpenCV, for all of these.
    expected = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    np.testing.assert_allclose(pixels, expected, atol=1)


@WAYS
@pytest.mark.parametrize('suffix', ['jpg', 'png', 'webp', 'tif'])
@pytest.mark.parametrize('orientation', range(1, 9))
def test_exif_orientation(tmp_path, suffix, orientation, way):
    undo = {1: lambda x: x, 2: ImageOps.mirror, 3: lambda x: x.rotate(180),
            4: ImageOps.flip, 5: lambda x: x.transpose(Image.Transpose.TRANSPOSE),
            6: lambda x: x.rotate(90, expand=True),
            7: lambda x: x.transpose(Image.Transpose.TRANSVERSE),
            8: lambda x: x.rotate(-90, expand=True)}[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f'a.{suffix}'
    undo(Image.fromarray(CORNERS)).save(path, FORMATS[suffix], exif=exif)
    assert_corners(way(path))


@WAYS
@pytest.mark.parametrize(('name', 'values'), [
    ('grey.png', np.full((20, 10), 77, np.uint8)),
    ('alpha.png', np.full((20, 10, 4), 77, np.uint8)),
    ('alpha.tif', np.full((20, 10, 4), 77, np.uint8))])
def test_other_channels_become_rgb(tmp_path, name, values, way):
    cv2.imwrite(str(tmp_path / name), values)
    np.testing.assert_array_equal(way(tmp_path / name), np.full((20, 10, 3), 77))


@WAYS
@pytest.mark.parametrize(('name', 'values', 'white'), [
    ('a.png', np.full((9, 8), 3000, np.uint16), 4000),
    ('a.tif', np.full((9, 8), 3000, np.uint16), 4000),
    ('a.tiff', np.full((9, 8), .75, np.float32), 1),
    ('a.tif', np.full((9, 8), 75000, np.int32), 100000),
    ('rgb.png', np.full((9, 8, 3), 3000, np.uint16), None),
    ('rgb.tif', np.full((9, 8, 3), 3000, np.uint16), None),
    ('nan.tif', np.full((9, 8), np.nan, np.float32), None)])
def test_deep_images_are_refused_or_scaled(tmp_path, name, values, white, way):
    cv2.imwrite(str(tmp_path / name), values)
    with pytest.raises(ValueError, match='8 bits'):
        way(tmp_path / name)
    if white is None:
        with pytest.raises(ValueError, match='8 bits'):
            way(tmp_path / name, white_level=1)
    else:
        np.testing.assert_array_equal(
            way(tmp_path / name, white_level=white), np.full((9, 8, 3), 191))


def test_files_of_several_frames_are_refused_but_those_of_phones(tmp_path):
    frames = [Image.fromarray(np.roll(CORNERS, k, 0)) for k in range(3)]
    for name in ('a.gif', 'a.webp', 'a.tif', 'a.png'):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        with pytest.raises(UnreadableImage, match='3 frames'):
            read_image(tmp_path / name)
        with Image.open(tmp_path / name) as image:
            with pytest.raises(UnreadableImage, match='3 frames'):
                rgb_pixels(image)
            image.seek(2)
            assert rgb_pixels(image.copy()).shape == CORNERS.shape
    frames[0].save(tmp_path / 'a.jpg', 'MPO', save_all=True, append_images=frames[1:])
    assert_corners(read_image(tmp_path / 'a.jpg'))


@pytest.mark.parametrize('suffix', FORMATS)
def test_cut_off_files_are_refused(tmp_path, suffix):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    whole = io.BytesIO()
    Image.fromarray(noise).save(whole, FORMATS[suffix])
    (tmp_path / 'a').write_bytes(whole.getvalue()[:-600])
    with pytest.raises(UnreadableImage, match='decode'):
        read_image(tmp_path / 'a')


@pytest.mark.parametrize(('kind', 'match'), [
    ('missing', 'No such file'), ('empty', 'empty'), ('garbage', 'decode'),
    ('head', 'decode'), ('pixel', '1 x 1'), ('line', '1 x 40'), ('folder', 'folder')])
def test_broken_images_are_refused(tmp_path, kind, match):
    path = tmp_path / 'a.png'
    if kind == 'folder':
        path.mkdir()
    elif kind != 'missing':
        spoil(path, kind)
    with pytest.raises(UnreadableImage, match=match):
        read_image(str(path))


def test_images_of_a_folder_in_natural_order(tmp_path):
    names = ['9.jpg', '10.JPG', 'f1b2.png', 'f1b10.webp', 'f9.bmp', 'f10.jpeg', 'f.png']
    for name in [*names, '.hidden.jpg', 'notes.txt', 'a.heic']:
        (tmp_path / name).touch()
    (tmp_path / 'folder.jpg').mkdir()
    assert list_images(tmp_path, others := []) == names
    assert others == [str(tmp_path / name) for name in ('a.heic', 'notes.txt')]


def test_other_files_in_a_folder_are_named(tmp_path, log):
    folder = tmp_path / 't'
    folder.mkdir()
    Image.fromarray(CORNERS).save(folder / '1.png')
    (folder / 'clip.heic').touch()
    assert len(read_frames(folder)) == 1
    line, = log(logging.WARNING)
    assert '1 files' in line
    assert 'clip.heic' in line


@pytest.mark.parametrize('value', [0, -1, float('inf'), float('nan')])
def test_white_level_out_of_range(value):
    with pytest.raises(ValueError, match='white_level'):
        LoadTrackletFrames(white_level=value)

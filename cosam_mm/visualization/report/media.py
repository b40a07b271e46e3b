"""Pictures and videos as addresses that hold them: ``data:`` URIs."""
import base64
import io
from typing import NamedTuple

__all__ = ['Image', 'image_of', 'video_uri']

_IMAGES = ((b'\x89PNG\r\n\x1a\n', 'png'), (b'\xff\xd8\xff', 'jpeg'), (b'RIFF', 'webp'))


class Image(NamedTuple):
    """An image that needs no file.

    Attributes:
        uri: Its ``data:`` address.
        width: Pixels.
        height: Pixels.
    """
    uri: str
    width: int
    height: int


def _uri(kind: str, data: bytes) -> str:
    return f'data:{kind};base64,{base64.b64encode(data).decode("ascii")}'


def image_of(data: bytes, title: str) -> Image:
    """A PNG, JPEG or WebP file as an image of a page.

    Args:
        data: The bytes of the file.
        title: Names it in messages.

    Raises:
        ValueError: It is none of these, or damaged.
    """
    from PIL import Image as PillowImage

    for start, kind in _IMAGES:
        if not data.startswith(start) or (kind == 'webp' and data[8:12] != b'WEBP'):
            continue
        try:
            with PillowImage.open(io.BytesIO(data), formats=[kind]) as image:
                return Image(_uri(f'image/{kind}', data), *image.size)
        except (OSError, SyntaxError) as error:
            raise ValueError(f'The picture {title!r} is a damaged {kind.upper()} '
                             f'file: {error}.') from error
    raise ValueError(f'The picture {title!r} is neither a PNG, nor a JPEG, nor a WebP '
                     f'file: it begins with {data[:8]!r}.')


def video_uri(data: bytes, title: str) -> str:
    """An MP4 file as the address of a video.

    Raises:
        ValueError: It is none.
    """
    if data[4:8] != b'ftyp':
        raise ValueError(f'The clip {title!r} is no MP4 file: it begins with '
                         f'{data[:8]!r}.')
    return _uri('video/mp4', data)

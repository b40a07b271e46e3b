"""Folders of images, each a tracklet, and a mark of what is in them."""
import hashlib
import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Optional

from cosam_mm.structures.tracklet import list_folders, list_images
from cosam_mm.utils.progress import progress_bar

__all__ = ['TrackletFiles', 'find_tracklets', 'query_tracklet']


class TrackletFiles(NamedTuple):
    """A folder that holds the images of one tracklet.

    Attributes:
        tracklet_id: Its path relative to the folder that was searched, with '/'.
        folder: Its path.
        state: A number of 64 bits that changes with names, sizes and times of
            change of the images.
    """
    tracklet_id: str
    folder: str
    state: int


def _state(folder: str, images: Sequence[str]) -> int:
    digest = hashlib.sha256()
    for name in images:
        found = os.stat(os.path.join(folder, name))
        digest.update(os.fsencode(f'{name}/{found.st_size}/{found.st_mtime_ns}/'))
    return int.from_bytes(digest.digest()[:8], 'little')


def _look_into(folder: str, tracklet_id: str
               ) -> tuple[Optional[TrackletFiles], list[str], tuple]:
    """The tracklet that a folder is, if any, its folders, and what it is on disk."""
    try:
        images, place = list_images(folder), os.stat(folder)
        state = _state(folder, images)
        inside = list_folders(folder)
    except OSError as error:
        raise ValueError(f'{folder} cannot be listed: {error.strerror}.') from error
    tracklet = TrackletFiles(tracklet_id, folder, state) if images else None
    return tracklet, inside, (place.st_dev, place.st_ino)


def find_tracklets(root: str) -> list[TrackletFiles]:
    """Every folder below a folder that directly holds images, in natural order.

    Links to folders are followed, but for those that lead back to where they lie.
    Images in ``root`` itself belong to no tracklet.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: There is no such tracklet, or a folder cannot be listed.
    """
    if not os.path.isdir(root):
        raise FileNotFoundError(f'There is no folder {root}.')
    found = list(progress_bar(_walk(root), 'looking for tracklets', 'tracklet',
                              leave=False))
    if not found:
        raise ValueError(
            f'No folder below {root} holds images'
            + (', only that folder itself' if list_images(root) else '')
            + ': the images of each tracklet belong into a folder of their own.')
    return found


def _walk(root: str) -> Iterator[TrackletFiles]:
    waiting = [('', root, frozenset())]
    while waiting:
        tracklet_id, folder, above = waiting.pop()
        tracklet, inside, place = _look_into(folder, tracklet_id)
        if place in above:
            continue
        if tracklet is not None and tracklet_id:
            yield tracklet
        prefix = f'{tracklet_id}/' if tracklet_id else ''
        waiting += [(prefix + name, os.path.join(folder, name), above | {place})
                    for name in reversed(inside)]


def query_tracklet(folder: str) -> TrackletFiles:
    """The tracklet whose images a folder holds; its id is the folder as given.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: It holds no images, or cannot be listed.
    """
    if not os.path.isdir(folder):
        raise FileNotFoundError(f'There is no query folder {folder}.')
    tracklet, inside, _ = _look_into(folder, folder)
    if tracklet is None:
        raise ValueError(
            f'The query folder {folder} holds no images'
            + (f', only folders ({inside[0]}, ...): name folders of images.' if inside
               else '.'))
    return tracklet

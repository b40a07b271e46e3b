"""A tracklet, and the folders of images it comes from.

A tracklet is what one camera saw of one person without a break: an ordered list of
image files. Everything about data sets that needs no data set lives here.
"""
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

__all__ = [
    'UNKNOWN_CAMERA',
    'Tracklet',
    'describe_tracklets',
    'is_in_folder',
    'list_folders',
    'list_images',
    'name_some',
    'natural_key',
    'relabel',
]

UNKNOWN_CAMERA = -1
IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp')
_MAX_NAMED = 5


class Tracklet(NamedTuple):
    """All frames of one person in one camera.

    ``pid`` is the person's number in the data set, negative for junk; ``camid`` the
    camera's, negative where it is unknown; ``tracklet_id`` a name for reports, unique
    in its subset; ``img_paths`` the images in the order of time.
    """
    pid: int
    camid: int
    tracklet_id: str
    img_paths: Sequence[str]


def natural_key(name: str) -> list:
    """Sort key that counts: ``img2`` comes before ``img10``.

    >>> sorted(['b1', 'a10', 'a2'], key=natural_key)
    ['a2', 'a10', 'b1']
    """
    parts = re.split('([0-9]+)', name)
    parts[1::2] = [(int(number), number) for number in parts[1::2]]
    return parts


def _sorted_entries(folder: str, is_wanted) -> list[str]:
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries
                 if not entry.name.startswith('.') and is_wanted(entry)]
    return sorted(names, key=natural_key)


def list_folders(folder: str) -> list[str]:
    """Names of the folders in a folder in natural order, hidden ones left out."""
    return _sorted_entries(folder, lambda entry: entry.is_dir())


def list_images(folder: str) -> list[str]:
    """Names of the image files in a folder in natural order, hidden ones left out."""
    return _sorted_entries(
        folder, lambda entry: (entry.name.lower().endswith(IMAGE_SUFFIXES)
                               and entry.is_file()))


def is_in_folder(name: str) -> bool:
    """Whether a name of a list stays in the folder that it is joined to.

    >>> is_in_folder('0001C1T0001F001.jpg'), is_in_folder('../x'), is_in_folder('')
    (True, False, False)
    """
    return name not in ('', '.', '..') and not re.search(r'[/\\\0]', name)


def name_some(names: Sequence[str]) -> str:
    """The first few of many names, for a message.

    >>> name_some(['a', 'b'])
    'a, b'
    """
    rest = len(names) - _MAX_NAMED
    return ', '.join(names[:_MAX_NAMED]) + (f' and {rest} more' if rest > 0 else '')


def relabel(pids: Iterable[int]) -> dict[int, int]:
    """Person numbers to labels 0, 1, …, in rising order.

    >>> relabel([7, 3, 7, 20])
    {3: 0, 7: 1, 20: 2}
    """
    return {pid: label for label, pid in enumerate(sorted(set(pids)))}


def describe_tracklets(tracklets: Sequence[Tracklet]) -> str:
    """One line on how many tracklets, persons, cameras and images there are."""
    cameras, counts = defaultdict(set), defaultdict(int)
    for tracklet in tracklets:
        cameras[tracklet.pid].add(tracklet.camid)
        counts[tracklet.pid] += 1
    num_images = sum(len(tracklet.img_paths) for tracklet in tracklets)
    known = set().union(*cameras.values()).difference([UNKNOWN_CAMERA])
    one_camera = sum(
        len(seen) == 1 and UNKNOWN_CAMERA not in seen for seen in cameras.values())
    one_tracklet = sum(count == 1 for count in counts.values())
    return (
        f'{len(tracklets):,} tracklets ({num_images:,} images) of {len(counts):,} pids '
        f'in {len(known) or "unknown"} cameras; {one_camera:,} pids with one camera, '
        f'{one_tracklet:,} pids with one tracklet')

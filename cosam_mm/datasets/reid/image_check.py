"""Whether the images that an index file lists are on disk.

MARS lists over a million images. ``'sample'`` looks at the folders and at the first
and the last image of every tracklet, in a second on a local disk; ``True`` lists
every folder, so that any missing image is found; ``False`` looks at nothing.
"""
import os
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Union

from cosam_mm.structures.tracklet import Tracklet, name_some
from cosam_mm.utils.progress import progress_bar

__all__ = ['ImageCheck', 'check_image_files', 'check_mode']

MODES = (True, False, 'sample')


class ImageCheck(NamedTuple):
    """How many images were looked for, and which of them are not there."""
    num_checked: int
    missing: list[str]


def check_mode(check_images: Union[bool, str]) -> None:
    """Raise a ValueError unless the mode is one of ``MODES``."""
    if not isinstance(check_images, (bool, str)) or check_images not in MODES:
        raise ValueError(f'check_images must be one of {MODES}, got {check_images!r}.')


def check_image_files(
    tracklets: Sequence[Tracklet], check_images: Union[bool, str]
) -> ImageCheck:
    """Look for the images of tracklets.

    Args:
        tracklets: Tracklets with paths.
        check_images: True, False or 'sample', see above.

    Raises:
        FileNotFoundError: Folders are missing (the first ones are named), or not a
            single image is there.
    """
    if not check_images:
        return ImageCheck(0, [])
    _check_folders(tracklets)
    every = check_images is True
    wanted = [path for tracklet in tracklets for path in (
        tracklet.img_paths if every else
        dict.fromkeys((tracklet.img_paths[0], tracklet.img_paths[-1])))]
    there = _listed(wanted) if every else {
        path for path in _progress(wanted, 'image') if os.path.isfile(path)}
    missing = [path for path in wanted if path not in there]
    if missing and len(missing) == len(wanted):
        raise FileNotFoundError(
            f'None of {len(wanted):,} images looked for exists: {name_some(missing)}.')
    return ImageCheck(len(wanted), missing)


def _check_folders(tracklets: Sequence[Tracklet]) -> None:
    folders = dict.fromkeys(
        os.path.dirname(tracklet.img_paths[0]) for tracklet in tracklets)
    missing = [folder for folder in _progress(folders, 'folder')
               if not os.path.isdir(folder)]
    if missing:
        raise FileNotFoundError(
            f'{len(missing):,} of {len(folders):,} folders of images do not exist: '
            f'{name_some(missing)}.')


def _listed(paths: Sequence[str]) -> set[str]:
    """Paths of all files that lie beside the given ones."""
    folders = {os.path.dirname(path) for path in paths}
    return {os.path.join(folder, name) for folder in _progress(folders, 'folder')
            for name in os.listdir(folder)}


def _progress(items: Iterable, unit: str) -> Iterable:
    """On a slow disk, a bar."""
    return progress_bar(items, 'looking for images', unit, leave=False)

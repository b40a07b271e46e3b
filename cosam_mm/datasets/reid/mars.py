"""MARS: tracklets that a tracker found of persons, and of other things, in six cameras.

Zheng et al., *MARS: A Video Benchmark for Large-Scale Person Re-Identification*,
ECCV 2016. 625 pids train in 8,298 tracklets; the test set has 12,180, of which 870
are junk (pid -1: never in a gallery) and 3,248 distractors (pid 0: they stay). 1,980
of the test tracklets, of 626 pids, are queries.

Two protocols are in use, and their results cannot be compared:

- ``query_in_gallery=False``: the queries leave the gallery, 9,330 tracklets are
  left; 140 queries then have no positive match in another camera;
- ``query_in_gallery=True``: the gallery is all 11,310 tracklets, and every query
  has a positive match.

Checked are the lists (names once, no paths), each row of the tables against the names
of its images (one tracklet, its pid and camera), the published counts, and whether the
images are on disk.

Layout:

    <data_root>/bbox_train/0001/0001C1T0001F001.jpg      pid, camera, tracklet, frame
    <data_root>/bbox_test/0000/…, 00-1/… (junk)
    <data_root>/info/train_name.txt, test_name.txt       one image a line (or .txt.gz)
    <data_root>/info/tracks_{train,test}_info.mat        first and last image, from 1,
                                                         pid, camera
    <data_root>/info/query_IDX.mat                       rows of the test tracklets,
                                                         from 1
"""
import gzip
import logging
import os
import re
import zlib
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple, Optional, Union

import numpy as np

from cosam_mm.registry import DATASETS
from cosam_mm.structures.tracklet import Tracklet
from cosam_mm.utils.io import read_text
from cosam_mm.utils.messages import name_some, one_line
from cosam_mm.utils.progress import progress_bar

from .matfile import read_integer_matrix
from .tracklet_dataset import TrackletDataset

__all__ = ['MARS']

_CHECK_MODES = (True, False, 'sample')
# Digits of the pid, which is the folder as well, and up to the tracklet's number.
_PID_CHARS, _TRACKLET_CHARS = 4, 11
# The names of a part of MARS have 10 million.
_MAX_CHARS = 1 << 28
_SEPARATORS = r'[/\\\0]'


class _Index(NamedTuple):
    """What the files of a part list."""
    names: list[str]  # of all images
    rows: np.ndarray  # (m, 4): first and last image, from 1; pid, camera
    source: str  # path of the rows


def _inflate(path: str) -> str:
    with gzip.open(path, 'rt', encoding='utf-8') as file:
        text = file.read(_MAX_CHARS + 1)
    if len(text) > _MAX_CHARS:
        raise ValueError(f'more than {_MAX_CHARS:,} characters')
    return text


def _read_names(path: str) -> list[str]:
    """Read a list of image names, one a line, or its gzipped form ``path + '.gz'``."""
    expected, is_plain = 'expected a list of image names, one a line', True
    if not os.path.isfile(path):
        is_plain, path = False, f'{path}.gz'
        if not os.path.isfile(path):
            raise FileNotFoundError(
                f'{path[:-3]!r} does not exist, nor does {path!r}: {expected}.')
    try:
        text = read_text(path) if is_plain else _inflate(path)
    except (ValueError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f'{path!r}: {expected}; got {one_line(error)}.') from error
    names = text.split()
    bad = {'.', '..'}.intersection(names)
    if re.search(_SEPARATORS, text):  # a path, which could leave the folder of images
        bad.update(name for name in names if re.search(_SEPARATORS, name))
    if not names or bad:
        got = name_some(map(repr, sorted(bad))) if bad else 'an empty file'
        raise ValueError(f'{path!r}: {expected}; got {got}.')
    if len(set(names)) < len(names):
        twice = [name for name, count in Counter(names).items() if count > 1]
        raise ValueError(f'{path!r}: images that are listed twice: {name_some(twice)}.')
    return names


def _read_index(info_dir: str, part: str) -> _Index:
    """Read names and tracklets of a part, 'train' or 'test', and compare them."""
    names = _read_names(os.path.join(info_dir, f'{part}_name.txt'))
    source = os.path.join(info_dir, f'tracks_{part}_info.mat')
    rows = read_integer_matrix(source, f'track_{part}_info', num_columns=4)
    first, last = rows[:, :2].T
    bad = np.flatnonzero((first < 1) | (last < first) | (last > len(names)))
    if bad.size:
        raise ValueError(
            f'{source!r}, row {bad[0] + 1}: images {first[bad[0]]} to {last[bad[0]]} '
            f'are no range of the {len(names):,} images of {part}_name.txt.')
    return _Index(names, rows, source)


def _read_query_rows(info_dir: str, num_rows: int) -> np.ndarray:
    """Rows of the queries among the ``num_rows`` test tracklets, from 0.

    Raises:
        FileNotFoundError, ValueError: The file is missing or malformed.
    """
    path = os.path.join(info_dir, 'query_IDX.mat')
    rows = read_integer_matrix(path, 'query_IDX').ravel() - 1
    if rows.min() < 0 or rows.max() >= num_rows or len(np.unique(rows)) < len(rows):
        raise ValueError(
            f'{path!r}: expected different rows, 1 to {num_rows:,}, of '
            f'tracks_test_info.mat; got {len(rows):,} from {rows.min() + 1} to '
            f'{rows.max() + 1}.')
    return rows


def _pid_and_camera(name: str) -> tuple[Optional[int], Optional[int]]:
    """What an image name tells: '00-1…' is pid -1; None where it tells nothing."""
    pid = re.fullmatch('0*(-?[0-9]+)', name[:_PID_CHARS])
    camera = re.match('C([0-9]+)', name[_PID_CHARS:])
    return pid and int(pid[1]), camera and int(camera[1])


def _make_tracklets(
    index: _Index, chosen: Sequence[int], image_dir: str
) -> list[Tracklet]:
    """Tracklets of chosen rows, whose images must be those of one such tracklet."""
    tracklets, row_of = [], {}
    for row in chosen:
        first, last, pid, camid = index.rows[row].tolist()
        names = index.names[first - 1:last]
        tracklet_ids = {name[:_TRACKLET_CHARS] for name in names}
        named_pid, named_camid = _pid_and_camera(names[0])
        where = (f'{index.source!r}, row {row + 1}: images {names[0]} to {names[-1]} '
                 'are')
        if len(tracklet_ids) > 1 or named_pid != pid:
            raise ValueError(
                f'{where} not one tracklet of pid {pid}. Names and tracklets belong to '
                'different versions of the data set.')
        if named_camid not in (None, camid):
            raise ValueError(f'{where} of camera {named_camid}, not {camid}.')
        (tracklet_id,) = tracklet_ids
        first_row = row_of.setdefault(tracklet_id, row)
        if first_row != row:
            raise ValueError(f'{where} of the tracklet of row {first_row + 1}.')
        folder = os.path.join(image_dir, names[0][:_PID_CHARS], '')
        tracklets.append(Tracklet(
            pid, camid, tracklet_id, [folder + name for name in names]))
    return tracklets


def _missing_images(
    tracklets: Sequence[Tracklet], every: bool
) -> tuple[int, list[str]]:
    """How many images were looked for, and paths of those that are missing.

    Looks for every image, or for the first and the last of each tracklet. Missing
    folders, and not a single image, are a FileNotFoundError.
    """
    def progress(items, unit):  # on a slow disk, a bar
        return progress_bar(items, 'looking for images', unit, leave=False)

    folders = dict.fromkeys(os.path.dirname(item.img_paths[0]) for item in tracklets)
    gone = [folder for folder in progress(folders, 'folder')
            if not os.path.isdir(folder)]
    if gone:
        raise FileNotFoundError(
            f'{len(gone):,} of {len(folders):,} folders of images do not exist: '
            f'{name_some(gone)}.')
    if every:
        wanted = [path for item in tracklets for path in item.img_paths]
        there = {os.path.join(folder, name) for folder in progress(folders, 'folder')
                 for name in os.listdir(folder)}
    else:
        wanted = [path for item in tracklets for path in
                  dict.fromkeys((item.img_paths[0], item.img_paths[-1]))]
        there = {path for path in progress(wanted, 'image') if os.path.isfile(path)}
    missing = [path for path in wanted if path not in there]
    if missing and len(missing) == len(wanted):
        raise FileNotFoundError(
            f'None of {len(wanted):,} images looked for exists: {name_some(missing)}.')
    return len(wanted), missing


@DATASETS.register_module()
class MARS(TrackletDataset):
    """MARS or a data set in its layout.

    Args:
        data_root: Folder with ``bbox_train``, ``bbox_test`` and ``info``.
        query_in_gallery: Protocol: leave the queries in the gallery, see above.
        check_images: Whether the listed images, over a million, are looked for.
            'sample' looks at the folders and at the first and the last image of every
            tracklet, in a second on a local disk; True lists every folder, so that
            any missing image is found; False looks at nothing. Missing folders are an
            error; missing images are counted and named in the log, and are left to
            ``LoadTrackletFrames``.
        base: Further arguments, and errors, of :class:`TrackletDataset`; your own data
            set in this layout sets ``name`` and ``expected_counts=None``.
    """

    default_name = 'mars'
    hint = ('It must hold bbox_train/, bbox_test/ and info/ of MARS; "python '
            'tools/prepare_data.py reid-demo --out DIR" generates small data like it.')

    def __init__(self, *args, query_in_gallery: bool = False,
                 check_images: Union[bool, str] = 'sample', **base) -> None:
        if (not isinstance(check_images, (bool, str))
                or check_images not in _CHECK_MODES):
            raise ValueError(
                f'check_images must be one of {_CHECK_MODES}, got {check_images!r}.')
        self.query_in_gallery = query_in_gallery
        self.protocol = f'gallery {"with" if query_in_gallery else "without"} queries'
        self.check_images = check_images
        super().__init__(*args, **base)

    def official_counts(self) -> dict:
        gallery = (11310, 635) if self.query_in_gallery else (9330, 621)
        num_tracklets, num_pids = dict(
            train=(8298, 625), query=(1980, 626), gallery=gallery)[self.subset]
        return dict(num_tracklets=num_tracklets, num_pids=num_pids)

    def list_tracklets(self) -> list[Tracklet]:
        info_dir = os.path.join(self.data_root, 'info')
        part = 'train' if self.subset == 'train' else 'test'
        index = _read_index(info_dir, part)
        tracklets = _make_tracklets(
            index, self._choose_rows(info_dir, len(index.rows)),
            os.path.join(self.data_root, f'bbox_{part}'))
        if self.check_images:
            self._look_for_images(tracklets)
        return tracklets

    def _choose_rows(self, info_dir: str, num_rows: int) -> Sequence[int]:
        """Rows of the part's table that the subset consists of."""
        if self.subset == 'train' or (
                self.subset == 'gallery' and self.query_in_gallery):
            return range(num_rows)
        query_rows = _read_query_rows(info_dir, num_rows)
        if self.subset == 'query':
            return query_rows.tolist()
        return sorted(set(range(num_rows)).difference(query_rows.tolist()))

    def _look_for_images(self, tracklets: list[Tracklet]) -> None:
        """Warn of missing images, once."""
        try:
            num_checked, missing = _missing_images(
                # Junk is left out of every subset, so its images are not needed.
                [tracklet for tracklet in tracklets if tracklet.pid >= 0],
                every=self.check_images is True)
        except FileNotFoundError as error:
            raise FileNotFoundError(f'{self.title}: {error} {self.hint}') from None
        if missing:
            self._log(
                f'{len(missing):,} of {num_checked:,} images looked for are missing: '
                f'{name_some(missing)}. Other frames of their tracklets stand in '
                'for them.', logging.WARNING)

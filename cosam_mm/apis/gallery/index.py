"""From a folder of tracklets to a gallery file, and from there to one up to date.

The file mirrors the folder: what :func:`index_folder` leaves equals what it would make
from nothing, and a tracklet is computed again only if its images changed.
"""
import os
import time
from collections.abc import Sequence
from typing import NamedTuple, Optional

import numpy as np

from cosam_mm.apis.tracklet_encoder import TrackletEncoder
from cosam_mm.utils.progress import progress_bar

from .folders import TrackletFiles, find_tracklets
from .gallery_file import Gallery, check_fit, read_gallery, write_gallery

__all__ = ['IndexReport', 'index_folder']

_ROWS = 4096  # copied at a time, so that no third copy of a large gallery arises


def _check_destination(path: str) -> None:
    """Find out before hours of work whether a file can be written."""
    if not str(path).endswith('.npz'):
        raise ValueError(f'A gallery file must end in .npz, got {str(path)!r}.')
    if os.path.isdir(path):
        raise ValueError(f'{path} is a folder: name a file for the gallery.')
    folder = os.path.dirname(os.path.abspath(path))
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f'The folder {folder} cannot be made: {error.strerror}.') from error
    if not os.access(folder, os.W_OK):
        raise ValueError(f'The folder {folder} cannot be written to.')


class IndexReport(NamedTuple):
    """What indexing did.

    Attributes:
        num_tracklets: Tracklets in the gallery now.
        num_kept: Of these, those that were in it before with the same images.
        num_removed: Tracklets of before whose folder is gone or cannot be read.
        skipped: Tracklets without any readable image.
    """
    num_tracklets: int
    num_kept: int
    num_removed: int
    skipped: list[str]


class _Index:
    """A gallery under construction: one row for each tracklet that was found."""

    def __init__(self, path: str, tracklets: Sequence[TrackletFiles],
                 encoder: TrackletEncoder) -> None:
        self.path = path
        self.tracklets = tracklets
        self.encoder = encoder
        self.feature: Optional[np.ndarray] = None
        self.is_done = np.zeros(len(tracklets), bool)

    def _reserve(self, length: int) -> None:
        if self.feature is None:
            self.feature = np.empty((len(self.tracklets), length), np.float32)

    def keep(self, old: Gallery) -> None:
        """Take over the tracklets whose images have not changed."""
        known = {key: row for row, key in enumerate(
            zip(old.tracklet_id.tolist(), old.state.tolist()))}
        pairs = [(number, known[tracklet.tracklet_id, tracklet.state])
                 for number, tracklet in enumerate(self.tracklets)
                 if (tracklet.tracklet_id, tracklet.state) in known]
        self._reserve(old.feature.shape[1])
        for start in range(0, len(pairs), _ROWS):
            numbers, rows = np.array(pairs[start:start + _ROWS]).T
            self.feature[numbers] = old.feature[rows]
            self.is_done[numbers] = True

    def put(self, number: int, feature: np.ndarray) -> None:
        """Take a new feature (D,)."""
        self._reserve(len(feature))
        self.feature[number] = feature
        self.is_done[number] = True

    def save(self, num_waiting: int = 0) -> None:
        """Write what there is, if there is anything."""
        if not self.is_done.any():
            return
        done = [self.tracklets[number] for number in np.flatnonzero(self.is_done)]
        encoder, whole = self.encoder, self.is_done.all()
        write_gallery(self.path, Gallery(
            feature=self.feature if whole else self.feature[self.is_done],
            tracklet_id=np.array([tracklet.tracklet_id for tracklet in done]),
            state=np.array([tracklet.state for tracklet in done], np.uint64),
            weights_sha256=encoder.weights, recipe=encoder.recipe,
            checkpoint=os.path.basename(encoder.checkpoint),
            distance=encoder.default_distance, num_waiting=num_waiting))


def _compute(index: _Index, batch_size: int, num_workers: int, save_every: float
             ) -> list[str]:
    """Fill in what is missing; returns the tracklets that cannot be read."""
    numbers = np.flatnonzero(~index.is_done).tolist()
    if not numbers:
        return []
    folders = [index.tracklets[number].folder for number in numbers]
    features = index.encoder.encode_each(folders, batch_size, num_workers)
    bar = progress_bar(features, 'indexing', 'tracklet', len(numbers))
    skipped, seen, pause, saved = [], 0, save_every, time.monotonic()
    try:
        for feature, number in zip(bar, numbers):
            if feature is None:
                skipped.append(index.tracklets[number].tracklet_id)
            else:
                index.put(number, feature)
            seen += 1
            if time.monotonic() - saved >= pause:
                start = time.monotonic()
                index.save(len(numbers) - seen)
                saved = time.monotonic()
                pause = max(save_every, 20 * (saved - start))  # 5 % at most
    finally:
        if seen < len(numbers):
            index.save(len(numbers) - seen)
    return skipped


def index_folder(encoder: TrackletEncoder, folder: str, path: str,
                 batch_size: int = 4, num_workers: int = 0, overwrite: bool = False,
                 save_every: float = 600.) -> IndexReport:
    """Write a gallery of all tracklets below a folder, or bring one up to date.

    What is done is kept when this is interrupted, or fails; the same call goes on
    from there.

    Args:
        encoder: Makes the features.
        folder: See :func:`find_tracklets`.
        path: Gallery file, ends in .npz. If it exists, only tracklets that are new in
            it or whose images changed are computed; those that are gone leave it.
        batch_size: Tracklets at once.
        num_workers: Processes that read images.
        overwrite: Do not look at the file, compute everything.
        save_every: Seconds after which what is done so far is written.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: It holds no tracklet, none can be read, the file cannot be
            written, or it exists and is no gallery, or one of another model.
    """
    _check_destination(path)
    tracklets = find_tracklets(folder)
    index, before, is_current = _Index(str(path), tracklets, encoder), set(), False
    if os.path.exists(path) and not overwrite:
        old = read_gallery(path)
        check_fit(old, encoder, path)
        index.keep(old)
        before = set(old.tracklet_id.tolist())
        is_current = index.is_done.all() and not old.num_waiting and (
            len(old), old.distance) == (len(tracklets), encoder.default_distance)
        del old
    num_kept = int(index.is_done.sum())
    skipped = _compute(index, batch_size, num_workers, save_every)
    if not index.is_done.any():
        raise ValueError(
            f'None of {len(tracklets)} tracklets below {folder} has a readable image: '
            'there is nothing to index.')
    if not is_current:
        index.save()
    there = {tracklet.tracklet_id for tracklet in tracklets}.difference(skipped)
    return IndexReport(int(index.is_done.sum()), num_kept, len(before - there), skipped)

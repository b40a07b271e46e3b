"""What all tracklet data sets share: from tracklets to items of a mmengine data set.

    list_tracklets()   every tracklet of the subset, of the data set's own layout
          |            junk (negative pid) leaves
          |            official counts are compared
          |            tracklets shorter than min_frames leave, counted and named
          v
    items              dict(img_paths, pid, label, camid, tracklet_id, subset, dataset)

A subset is 'train', 'query' or 'gallery'. Only training items carry a ``label``: the
pid's rank among the pids of the subset; the others have -1.
"""
import logging
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Optional, Union

from mmengine.dataset import BaseDataset
from mmengine.logging import print_log

from cosam_mm.datasets.unreadable_samples import ReadableItems
from cosam_mm.structures.tracklet import UNKNOWN_CAMERA, Tracklet
from cosam_mm.utils.messages import name_some

__all__ = ['SUBSETS', 'TrackletDataset']

SUBSETS = ('train', 'query', 'gallery')
_COUNTS = ('num_tracklets', 'num_pids')


def _check_arguments(subset: str, min_frames: int, expected_counts) -> None:
    """Raise a ValueError for arguments of :class:`TrackletDataset` out of range."""
    if subset not in SUBSETS:
        raise ValueError(f'subset must be one of {SUBSETS}, got {subset!r}.')
    if not isinstance(min_frames, int) or min_frames < 1:
        raise ValueError(
            f'min_frames must be an integer of at least 1, got {min_frames!r}.')
    is_counts = (isinstance(expected_counts, Mapping)
                 and set(expected_counts) <= set(_COUNTS))
    if not is_counts and expected_counts not in ('official', None):
        raise ValueError(
            f"expected_counts must be 'official', None or a dict with keys of "
            f'{_COUNTS}, got {expected_counts!r}.')


def _describe(tracklets: Sequence[Tracklet]) -> str:
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


class TrackletDataset(ReadableItems, BaseDataset):
    """Tracklets of one subset, one an item.

    Subclasses list their tracklets in :meth:`list_tracklets`, name the protocol and
    the split that they follow, and know how many tracklets and pids there should be.

    ``metainfo`` holds ``dataset``, ``subset``, ``protocol`` (what is compared with
    what in a test), ``split`` (None where there is one only) and, once the tracklets
    are listed, ``num_tracklets`` and ``num_pids``.

    Args:
        data_root: Folder of the data set.
        subset: 'train', 'query' or 'gallery'.
        pipeline: Transforms.
        test_mode: Raise where a tracklet gives None, rather than give another.
            Default: for every subset but 'train'.
        name: Data set in ``metainfo`` and items. Default: the data set's own name.
        min_frames: Leave out tracklets of fewer images.
        expected_counts: ``num_tracklets`` and ``num_pids`` that the subset must
            have, before ``min_frames`` applies. 'official': those of the published
            data set; None: any, which lets a part of the data set through.
        indices: Keep these items only, or the first so many.
        serialize_data: Keep items pickled, which saves memory.
        lazy_init: List the tracklets at the first use.
        max_refetch: How often training tries another tracklet in a row.
        force: Go on with persons of ``train`` in ``query`` or ``gallery``.

    Raises:
        FileNotFoundError: Data root, or a file or folder in it, is missing.
        ValueError: An argument is not as described, the counts differ from the
            expected ones, or no tracklet is left.
    """

    name_key, class_key = 'tracklet_id', 'pid'
    default_name: str = ''
    hint: str = 'Set data_root to the folder of the data set.'
    protocol: str  # what a test compares with what
    split_name: Union[int, str, None] = None  # of the pids; None where there is one
    # The same split in checkpoints of version 0.1, and the option that makes it.
    former_split: Optional[tuple[Union[int, str], str]] = None

    def __init__(self,
                 data_root: str,
                 subset: str = 'train',
                 pipeline: Sequence = (),
                 test_mode: Optional[bool] = None,
                 name: Optional[str] = None,
                 min_frames: int = 1,
                 expected_counts: Union[str, dict, None] = 'official',
                 lazy_init: bool = False,
                 force: bool = False,
                 **base) -> None:
        _check_arguments(subset, min_frames, expected_counts)
        self.subset = subset
        self.min_frames = min_frames
        self.expected_counts = expected_counts
        self.force = force
        super().__init__(
            data_root=os.fspath(data_root), data_prefix={}, pipeline=pipeline,
            test_mode=subset != 'train' if test_mode is None else test_mode,
            lazy_init=True, **{'max_refetch': 100, **base})
        self.name = name or self.default_name or os.path.basename(
            os.path.abspath(self.data_root))
        self._metainfo.update(
            dataset=self.name, subset=subset, protocol=self.protocol,
            split=self.split_name)
        if self.former_split is not None:
            self._metainfo['former_split'] = self.former_split
        if not lazy_init:
            self.full_init()

    def official_counts(self) -> dict:
        """Tracklets and pids of the published subset, as far as they are known."""
        return {}

    def list_tracklets(self) -> list[Tracklet]:
        """Every tracklet of the subset, in a fixed order."""
        raise NotImplementedError

    @property
    def title(self) -> str:
        """Data set and subset, for messages."""
        return f'{self.name} {self.subset}'

    def load_data_list(self) -> list[dict]:
        """List, check and count the tracklets."""
        if not os.path.isdir(self.data_root):
            raise FileNotFoundError(
                f'The data root {self.data_root!r} of {self.name} does not exist. '
                f'{self.hint}')
        listed = self.list_tracklets()
        tracklets = [tracklet for tracklet in listed if tracklet.pid >= 0]
        if len(tracklets) < len(listed):
            self._log(f'{len(listed) - len(tracklets):,} junk tracklets (negative pid) '
                      'are left out.')
        self._check_counts(tracklets)
        tracklets = self._drop_short(tracklets)
        if not tracklets:
            raise ValueError(
                f'{self.title} in {self.data_root!r} holds no tracklet of at least '
                f'{self.min_frames} image(s). {self.hint}')
        pids = sorted({tracklet.pid for tracklet in tracklets})
        labels = {pid: label for label, pid in enumerate(pids)}
        self._metainfo.update(num_tracklets=len(tracklets), num_pids=len(labels))
        self._log(f'{_describe(tracklets)}.')
        return [
            dict(img_paths=list(tracklet.img_paths), pid=tracklet.pid,
                 label=labels[tracklet.pid] if self.subset == 'train' else -1,
                 camid=tracklet.camid, tracklet_id=tracklet.tracklet_id,
                 subset=self.subset, dataset=self.name)
            for tracklet in tracklets]

    def check_shared_persons(self, parts: Iterable[set]) -> None:
        """Refuse, or say if forced, persons that train and are tested on.

        Args:
            parts: Persons of ``train``, and those of ``query`` and ``gallery``.
        """
        train, test = parts
        shared = sorted(train & test)
        if not shared:
            return
        message = (f'{len(shared):,} persons of train/ are in query/ or gallery/ as '
                   f'well: {name_some(shared)}. A test would rate whom the model was '
                   'trained on')
        if not self.force:
            raise ValueError(
                f'{self.title} in {self.data_root!r}: {message}. Take them out of one, '
                'or, if equal names are not equal persons, test with --force and train '
                'with force=True of the data sets.')
        self._log(f'{message}. Going on, as forced.', logging.WARNING)

    def _log(self, message: str, level: int = logging.INFO) -> None:
        print_log(f'{self.title}: {message}', logger='current', level=level)

    def _drop_short(self, tracklets: list[Tracklet]) -> list[Tracklet]:
        short = [tracklet.tracklet_id for tracklet in tracklets
                 if len(tracklet.img_paths) < self.min_frames]
        if short:
            self._log(f'{len(short):,} tracklets of fewer than {self.min_frames} '
                      f'images are left out: {name_some(short)}.')
        return [tracklet for tracklet in tracklets
                if len(tracklet.img_paths) >= self.min_frames]

    def _check_counts(self, tracklets: list[Tracklet]) -> None:
        """Raise a ValueError where other numbers are expected."""
        expected = self.expected_counts
        if expected == 'official':
            expected = self.official_counts()
        counted = dict(num_tracklets=len(tracklets),
                       num_pids=len({tracklet.pid for tracklet in tracklets}))
        wrong = [f'{key} is {counted[key]:,}, expected {count:,}'
                 for key, count in (expected or {}).items()
                 if count is not None and counted[key] != count]
        if wrong:
            raise ValueError(
                f'{self.title} in {self.data_root!r}: {"; ".join(wrong)}. Files are '
                'missing, or it is another data set. Set expected_counts=None to use '
                'it as it is.')

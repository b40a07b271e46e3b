"""Crops of persons of your own: checked, with a config that trains on them."""
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Union

from mmengine.config import Config

from cosam_mm.datasets.image_files import UnreadableImage, read_image
from cosam_mm.datasets.reid.query_gallery import QueryGalleryDataset
from cosam_mm.datasets.reid.tracklet_folder import TrackletFolder
from cosam_mm.utils.cli import find_config
from cosam_mm.utils.messages import name_some, table_lines
from cosam_mm.utils.progress import progress_bar

from .own_data import PathLike, Prepared, spread, write_config, write_left_out

__all__ = ['prepare_tracklets']

# Steps of an epoch at least: those of the demo config, which learns from scratch.
_STEPS = 8
_TRACKLETS = '''\
    """{title}. Run tools/prepare_data.py tracklets again where it changes."""
    _base_ = [{base!r}]
    own = dict(type='TrackletFolder', data_root={root!r}, seed={seed}, _delete_=True)
    query, gallery = (
        dict(own, subset=subset, pipeline=_base_.test_dataloader.dataset.query.pipeline)
        for subset in ('query', 'gallery'))
    train_dataloader = dict(  # an epoch shows each person so many times
        batch_size={batch_size},
        sampler=dict(num_pids_per_batch={num_pids_per_batch}, num_rounds={num_rounds}),
        dataset=dict(own, pipeline=_base_.train_dataloader.dataset.pipeline))
    val_dataloader = dict(dataset=dict(query=query, gallery=gallery))
    test_dataloader = val_dataloader
    model = dict(head=dict(num_pids={num_pids}))
    work_dir = {work_dir!r}
'''


def prepare_tracklets(images_dir: PathLike, out_dir: PathLike,
                      base: str = 'reid/resnet14_cosam45_tp_demo',
                      num_workers: int = 0) -> Prepared:
    """Check tracklets in a layout of ``TrackletFolder``, and write a config for them.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: It has another layout, fewer than two persons to train with, or the
            base is no config of re-identification.
    """
    images_dir, out_dir, base = Path(images_dir), Path(out_dir), find_config(base)
    if images_dir.resolve() in (out_dir.resolve(), *out_dir.resolve().parents):
        raise ValueError(f'{out_dir} would count as a person of {images_dir}: choose a '
                         'folder beside it')
    sampler = Config.fromfile(base).train_dataloader.get('sampler', {})
    if 'num_pids_per_batch' not in sampler:
        raise ValueError(f'--base {base} is no config of re-identification')
    seed, parts, lines = _read_tracklets(images_dir)
    num_pids = parts[0].metainfo['num_pids']
    at_once = min(num_pids, sampler['num_pids_per_batch'])
    images = {item['tracklet_id']: item['img_paths'] for part in parts
              for item in map(part.get_data_info, range(len(part)))}
    reasons, sizes = _read_images(
        [path for own in images.values() for path in own], num_workers)
    config = write_config(
        out_dir, _TRACKLETS, base=base, root=images_dir, seed=seed,
        title=f'{num_pids} persons to train, {parts[2].metainfo["num_pids"]} to test',
        batch_size=at_once * sampler.get('num_tracklets_per_pid', 4), num_pids=num_pids,
        num_pids_per_batch=at_once,
        num_rounds=max(1, _STEPS * at_once // num_pids))
    return Prepared(config, [*table_lines(['', 'min', 'median', 'max'], [
        spread('images of a tracklet', map(len, images.values())),
        spread('height', (height for height, _ in sizes)),
        spread('width', (width for _, width in sizes))]),
        *write_left_out(out_dir, reasons), *lines],
        Path(parts[1].get_data_info(0)['img_paths'][0]).parent, not lines)


def _read_tracklets(images_dir: Path) -> tuple[int, list, list[str]]:
    """A seed that parts the persons, the subsets, and why a test is not possible."""
    if not images_dir.is_dir():
        raise FileNotFoundError(f'{images_dir} is not a folder. {TrackletFolder.hint}')
    root = str(images_dir.resolve())
    seed = TrackletFolder(root, lazy_init=True).balanced_seed()
    parts = [TrackletFolder(root, subset, seed=seed)
             for subset in ('train', 'query', 'gallery')]
    if parts[0].metainfo['num_pids'] < 2:
        raise ValueError(f'{images_dir} has one person to train with, two are needed')
    try:
        QueryGalleryDataset(*parts[1:])
    except ValueError as error:
        return seed, parts, [f'warning: a test is not possible. {error}']
    return seed, parts, []


def _read_images(paths: list[str], num_workers: int
                 ) -> tuple[dict[str, str], list[tuple[int, int]]]:
    """Reasons of images that cannot be read, and (height, width) of the others."""
    with ThreadPoolExecutor(num_workers or 1) as pool:  # decoders leave Python's lock
        found = dict(zip(paths, progress_bar(
            pool.map(_image_size, paths), 'reading', 'image', len(paths))))
    reasons = {path: why for path, why in found.items() if isinstance(why, str)}
    if len(reasons) == len(paths):
        raise ValueError(f'no image can be read: {name_some(reasons.values(), 1)}')
    return reasons, [size for path, size in found.items() if path not in reasons]


def _image_size(path: str) -> Union[tuple[int, int], str]:
    """(height, width), or why the image cannot be read."""
    try:
        return read_image(path).shape[:2]
    except UnreadableImage as error:
        return str(error)

"""The section on what COSAM attends to: its masks over samples of the test data."""
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.registry import DATASETS

from cosam_mm.apis.model_loading import TrainedModel, scope_of, seed_of_training
from cosam_mm.utils.config import set_data_root, type_name
from cosam_mm.utils.config_of_checkpoint import config_of_checkpoint
from cosam_mm.utils.io import unwrap_state_dict
from cosam_mm.utils.messages import one_line
from cosam_mm.utils.progress import progress_bar
from cosam_mm.visualization import mask_overlay
from cosam_mm.visualization.mask_files import playing_speed, plot_channel_masks
from cosam_mm.visualization.mask_maps import AFTER, MaskedClip
from cosam_mm.visualization.mask_recorder import MaskRecorder, make_recorder
from cosam_mm.visualization.style import encode_image
from cosam_mm.visualization.video_writer import encode_video

from . import page
from .page import Block
from .work_dir_collection import WorkDir

__all__ = ['build_section']

_HOW = ('python tools/visualizations/visualize_masks.py CONFIG CHECKPOINT INPUT '
        '--before')
_LEAD = ('Where the frames of a clip agree that it is worth looking: the spatial masks '
         'of every COSAM over the frames, before and after training, and the channel '
         'masks.')
_MAX_FRAMES = 32
_MAX_CLIP_BYTES = 240_000
_QUALITIES = (24, 28, 32, 36)


def build_section(found: WorkDir, num_samples: int, progress: bool
                  ) -> tuple[str, list[Block]]:
    """Lead and blocks: grids, clips and channel bars of samples of the test data.

    Samples are spread evenly over the test list, or over the queries.
    """
    blocks, clips = [], []
    # A folder may be of another project: its config can fail in any way.
    try:
        if found.checkpoint_file is None:
            raise ValueError('there is no checkpoint')
        recorder = _recorder(found, blocks)
        samples = _samples(recorder.config, found, num_samples)
    except Exception as error:
        return '', [page.missing('masks of COSAM over sample clips', one_line(error),
                                 _HOW)]
    for name, source in progress_bar(samples, 'masks', 'sample', show=progress):
        try:
            clips.append(replace(recorder.record(source), name=name))
        except Exception as error:  # likewise its data
            blocks.append(page.missing(f'masks of {name}', one_line(error), _HOW))
    return _LEAD, [*_images(clips), *blocks]


# -- model and samples ---------------------------------------------------------------


def _recorder(found: WorkDir, blocks: list[Block]) -> MaskRecorder:
    """Of the checkpoint, by the config of the folder, else of the checkpoint.

    With the masks before training, where the weights then can be had.
    """
    config = found.config
    if found.config_file is None:
        if not isinstance(found.meta.get('cfg'), str):
            raise ValueError('neither a config nor one in the checkpoint is there')
        config = config_of_checkpoint(found.meta['cfg'])
    if found.data_root is not None:
        set_data_root(config, str(found.data_root))
    model = TrainedModel(str(found.checkpoint_file), config,
                         unwrap_state_dict(found.checkpoint),
                         seed=seed_of_training(config, found.meta))
    try:
        return make_recorder(config, model, True, max_frames=_MAX_FRAMES)
    except ValueError as error:
        # Where it is the checkpoint that does not do, this fails as well.
        after = make_recorder(config, model, max_frames=_MAX_FRAMES)
        blocks.append(page.missing('masks before training', one_line(error)))
        return after


def _samples(config: Config, found: WorkDir, count: int) -> list[tuple[str, Any]]:
    """(name, source) of clips or tracklets of the test data."""
    loader = config.get('test_dataloader') or config.get('val_dataloader') or {}
    settings = loader.get('dataset')
    if settings is None:
        raise ValueError('the config tests on no data')
    if type_name(settings) == 'QueryGalleryDataset':
        from cosam_mm.datasets import reid  # noqa: F401  (registers it)
        settings = dict(settings['query'], subset='query', test_mode=True)
    else:
        from cosam_mm.datasets import action_dataset as action  # noqa: F401
    if found.data_root is None:
        raise FileNotFoundError('the test data do not exist: '
                                f'{settings.get("data_root") or "no folder"}')
    with scope_of(config):
        dataset = DATASETS.build(dict(settings, pipeline=[]))
    return [_sample(dataset, dataset.get_data_info(int(number)))
            for number in mask_overlay.spread(len(dataset), count)]


def _sample(dataset: Any, item: Mapping) -> tuple[str, Any]:
    """What a data set says of an item, as something that can be read."""
    if 'img_paths' in item:
        return str(item.get('tracklet_id', '')), list(item['img_paths'])
    name = str(item.get('sample_id', ''))
    if 'filename' in item:
        return name or os.path.basename(item['filename']), item['filename']
    if item.get('modality', 'RGB') != 'RGB' or 'frame_dir' not in item:
        raise ValueError('the test data are no RGB videos or tracklets')
    first = item.get('offset', 0) + getattr(dataset, 'start_index', 1)
    return name, [os.path.join(item['frame_dir'], dataset.filename_tmpl.format(number))
                  for number in range(first, first + item['total_frames'])]


# -- images --------------------------------------------------------------------------


def _images(clips: list[MaskedClip]) -> Iterator[Block]:
    """Grids of the spatial masks, the same as clips, and the channel masks."""
    spatial = [clip for clip in clips if mask_overlay.mask_layers(clip)]
    if clips and not spatial:
        yield page.missing('spatial masks', 'the COSAMs are built with_spatial=False')
    for clip in spatial:
        ranges = ' '.join(f'{" ".join(filter(None, (layer.title, layer.state)))}: '
                          f'{layer.span}.' for layer in mask_overlay.mask_layers(clip))
        yield page.image(
            clip.name, encode_image(mask_overlay.mask_grid(clip), 'webp', 80),
            f'Frames of {clip.name} and the spatial masks over them. {ranges}',
            'The colours mean the same in all rows; the bars say what. A frame has the '
            'mask of the step that it belongs to.')
    if spatial:
        yield page.gallery([_play(clip) for clip in spatial], 'The same, played')
    if clips:
        yield _channels(clips)


def _play(clip: MaskedClip) -> Block:
    """The masks over the whole clip, in the best quality that is small enough."""
    frames = list(mask_overlay.mask_video(clip, side=176))
    for quality in _QUALITIES:
        data = encode_video(frames, 'mp4', playing_speed(clip), quality)
        if len(data) <= _MAX_CLIP_BYTES:
            break
    return page.clip(clip.name, data, f'Video of {clip.name}: the frame, and beside it '
                     'each spatial mask over the frame.',
                     poster=encode_image(frames[0], 'webp', 80))


def _channels(clips: list[MaskedClip]) -> Block:
    """One plot of the mean over the clips."""
    means = {state: {name: masks._replace(channel=np.mean(
        [clip.masks[state][name].channel for clip in clips], axis=0))
        for name, masks in layers.items() if masks.channel is not None}
        for state, layers in clips[0].masks.items()}
    layers = means.get(AFTER) or means.get('')
    if not layers:
        return page.missing('channel masks', 'the COSAMs are built with_channel=False')
    titles = mask_overlay.layer_titles(layers)
    best = ' '.join(f'{titles[name]}: channel {int(np.argmax(masks.channel))}, '
                    f'{masks.channel.max():.2f}.' for name, masks in layers.items())
    return page.plot(
        'Channel masks', plot_channel_masks(replace(clips[0], name='', masks=means)),
        'All channels of each COSAM by falling value of the channel mask, and the ten '
        f'most agreed ones by number. {best}',
        f'Mean over the {len(clips)} sample{"s" if len(clips) > 1 else ""} above.')

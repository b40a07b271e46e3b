"""The section of a report on what COSAM attends to."""
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Optional

import numpy as np
from mmengine.config import Config
from mmengine.registry import DATASETS

from cosam_mm.apis.model_loading import read_trained_model, scope_of
from cosam_mm.utils.config import set_data_root
from cosam_mm.utils.progress import progress_bar
from cosam_mm.visualization.clip_file import encode_mp4
from cosam_mm.visualization.mask_clip import AFTER, BEFORE, ClipMasks, MaskedClip
from cosam_mm.visualization.mask_drawing import (
    channel_picture,
    grid_picture,
    layer_titles,
    mask_layers,
    video_pictures,
)
from cosam_mm.visualization.mask_files import playing_speed
from cosam_mm.visualization.mask_overlay import spread
from cosam_mm.visualization.mask_recorder import MaskRecorder, make_recorder
from cosam_mm.visualization.style import encode_image, figure_svg

from .content import Block, Clip, Gallery, Missing, Picture, Section
from .work_dir import ReportOptions, WorkDir
from .work_dir_collection import read_config

__all__ = ['build_section']

_KEY, _TITLE = 'masks', 'Masks'
_WHAT = 'masks of COSAM over sample clips'
_HOW = ('python tools/visualizations/visualize_masks.py CONFIG CHECKPOINT INPUT '
        '--before')
_LEAD = ('Where the frames of a clip agree that it is worth looking: the spatial masks '
         'of every COSAM over the frames, before and after training, and the channel '
         'masks.')
_MAX_FRAMES = 32
_MAX_CLIP_BYTES = 240_000
_QUALITIES = (24, 28, 32, 36)


@dataclass(frozen=True)
class _Sample:
    """One clip or tracklet of the test data."""
    name: str
    source: Any


def build_section(found: WorkDir, options: ReportOptions) -> Optional[Section]:
    """Masks over some samples of the test data: grids, clips and channel bars.

    Samples are spread evenly over the test list, or over the queries.

    Returns:
        None where nothing says what the model is.
    """
    if found.config is None and found.checkpoint is None:
        return None
    if not options.with_masks:
        return _missing('the report was made without them', 'leave --no-masks out')
    if found.checkpoint is None:
        return _missing('there is no checkpoint', 'Name one with --checkpoint.')
    blocks: list[Block] = []
    # A folder may be of another project: its config can fail in any way.
    try:
        config = _config(found)
        recorder = _recorder(config, found, blocks)
        samples = _samples(config, found, options.num_samples)
    except Exception as error:
        return _missing(_first_line(error), _HOW)
    clips = []
    for sample in progress_bar(samples, 'masks', 'sample', show=options.progress):
        try:
            clip = recorder.record(sample.source)
        except Exception as error:  # likewise its data
            blocks.append(Missing(f'masks of {sample.name}', _first_line(error), _HOW))
        else:
            clips.append(replace(clip, name=sample.name))
    return Section(_KEY, _TITLE, _LEAD, (*_pictures(clips), *blocks))


def _missing(why: str, how: str) -> Section:
    return Section(_KEY, _TITLE, blocks=(Missing(_WHAT, why, how),))


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


# -- model and samples -------------------------------------------------------


def _config(found: WorkDir) -> Config:
    config = read_config(found.config) if found.config is not None \
        else read_trained_model(str(found.checkpoint)).config
    if found.data_root is not None:
        set_data_root(config, str(found.data_root))
    return config


def _recorder(config: Config, found: WorkDir, blocks: list[Block]) -> MaskRecorder:
    """With the masks before training, where the weights then can be had."""
    checkpoint = str(found.checkpoint)
    try:
        return make_recorder(config, checkpoint, True, max_frames=_MAX_FRAMES)
    except ValueError as error:
        # Where it is the checkpoint that does not do, this fails as well.
        after = make_recorder(config, checkpoint, max_frames=_MAX_FRAMES)
        blocks.append(Missing('masks before training', _first_line(error)))
        return after


def _samples(config: Config, found: WorkDir, count: int) -> list[_Sample]:
    loader = config.get('test_dataloader') or config.get('val_dataloader') or {}
    settings = loader.get('dataset')
    if settings is None:
        raise ValueError('the config tests on no data')
    if settings['type'] == 'QueryGalleryDataset':
        from cosam_mm.datasets import reid  # noqa: F401  (registers it)
        settings = dict(settings['query'], subset='query', test_mode=True)
    else:
        from cosam_mm.datasets import action_dataset as action  # noqa: F401
    if found.data_root is None:
        raise FileNotFoundError(
            f'the test data are not there: {settings.get("data_root") or "no folder"}')
    with scope_of(config):
        dataset = DATASETS.build(dict(settings, pipeline=[]))
    return [_sample(dataset, dataset.get_data_info(int(number)))
            for number in spread(len(dataset), count)]


def _sample(dataset: Any, item: Mapping) -> _Sample:
    """What a data set says of an item, as something that can be read."""
    if 'img_paths' in item:
        return _Sample(str(item.get('tracklet_id', '')), list(item['img_paths']))
    name = str(item.get('sample_id', ''))
    if 'filename' in item:
        return _Sample(name or os.path.basename(item['filename']), item['filename'])
    if item.get('modality', 'RGB') == 'RGB' and 'frame_dir' in item:
        first = item.get('offset', 0) + getattr(dataset, 'start_index', 1)
        names = [dataset.filename_tmpl.format(first + number)
                 for number in range(item['total_frames'])]
        return _Sample(name, [os.path.join(item['frame_dir'], one) for one in names])
    raise ValueError('the test data are no RGB videos or tracklets')


# -- pictures ----------------------------------------------------------------


def _pictures(clips: list[MaskedClip]) -> Iterator[Block]:
    spatial = [clip for clip in clips if mask_layers(clip)]
    if clips and not spatial:
        yield Missing('spatial masks', 'the COSAMs are built with_spatial=False')
    for clip in spatial:
        yield Picture(
            clip.name, encode_image(grid_picture(clip), 'webp', 80),
            f'Frames of {clip.name} and the spatial masks over them. {_ranges(clip)}',
            'The colours mean the same in all rows; the bars say what. A frame has the '
            'mask of the step that it belongs to.')
    if spatial:
        yield Gallery([_play(clip) for clip in spatial], 'The same, played')
    if clips:
        yield from _channels(clips)


def _ranges(clip: MaskedClip) -> str:
    return ' '.join(
        f'{layer.title}{f" {layer.state}" if layer.state else ""}: '
        f'{layer.masks.min():.2f} to {layer.masks.max():.2f}.'
        for layer in mask_layers(clip))


def _play(clip: MaskedClip) -> Clip:
    pictures = list(video_pictures(clip, side=176))
    for quality in _QUALITIES:
        data = encode_mp4(pictures, playing_speed(clip), quality)
        if len(data) <= _MAX_CLIP_BYTES:
            break
    return Clip(clip.name, data, f'Video of {clip.name}: the frame, and beside it each '
                'spatial mask over the frame.',
                poster=encode_image(pictures[0], 'webp', 80))


def _channels(clips: list[MaskedClip]) -> Iterator[Block]:
    """One figure of the mean over the clips."""
    figure = channel_picture(_mean_channels(clips))
    if figure is None:
        yield Missing('channel masks', 'the COSAMs are built with_channel=False')
        return
    count = len(clips)
    yield Picture(
        'Channel masks', figure_svg(figure),
        'All channels of each COSAM by falling value of the channel mask, and the ten '
        f'most agreed ones by number. {_best_channels(clips)}',
        f'Mean over the {count} sample{"s" if count > 1 else ""} above.')


def _mean_channels(clips: list[MaskedClip]) -> MaskedClip:
    first = clips[0]
    masks = {state: {name: _mean([clip.masks[state][name] for clip in clips])
                     for name in layers} for state, layers in first.masks.items()}
    return replace(first, name='', masks=masks)


def _mean(masks: list[ClipMasks]) -> ClipMasks:
    if masks[0].channel is None:
        return ClipMasks(None, None)
    return ClipMasks(None, np.mean([one.channel for one in masks], axis=0))


def _best_channels(clips: list[MaskedClip]) -> str:
    mean = _mean_channels(clips)
    layers = mean.masks[AFTER if BEFORE in mean.masks else '']
    titles = layer_titles(layers)
    return ' '.join(f'{titles[name]}: channel {int(np.argmax(masks.channel))}, '
                    f'{masks.channel.max():.2f}.'
                    for name, masks in layers.items() if masks.channel is not None)

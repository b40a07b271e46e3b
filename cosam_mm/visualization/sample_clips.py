"""Frames of the confused, hardest and nearly right clips of a test.

Clips come from the data set's own list: a name in a score file only selects one there
and is never part of a path. The label must agree too, so that another data set with
equal names shows no frames.
"""
import os
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import NamedTuple, Optional, Union

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from mmaction.registry import DATASETS
from mmengine.config import Config
from mmengine.registry import DefaultScope

from cosam_mm.apis.video_input import open_video, read_frames
from cosam_mm.datasets import action_dataset  # noqa: F401  (registers the two data sets)
from cosam_mm.datasets.video_reader import UnreadableVideo
from cosam_mm.layers.cosam_functional import evenly_spaced_indices
from cosam_mm.utils.config import type_name
from cosam_mm.utils.progress import progress_bar

from .action_results import ActionComparison, ActionResults
from .canvas import fit
from .confusion_plots import shown_name
from .style import INK, new_figure, style

__all__ = ['SampleClip', 'SampleGroup', 'changed_samples', 'dataset_of_test',
           'find_clips', 'plot_strips', 'read_strips', 'sample_groups']

# (name, label) of a clip -> path of a video file, or paths of frames.
ClipSources = Mapping[tuple[str, int], Union[str, Sequence[str]]]

_KINDS = {'ActionVideoDataset': 'videos', 'ActionFrameDataset': 'rawframes'}
_PAGE_INCHES = 7.5
_NUM_FRAMES, _GAP = 4, 3
_CLIPS_PER_PAIR = 2


class SampleClip(NamedTuple):
    """A clip to show."""
    row: int      # in the results
    heading: str  # what it is an example of
    text: str     # probabilities
    name: str     # of the clip


class SampleGroup(NamedTuple):
    """Clips that are shown together."""
    key: str    # file name without suffix
    title: str  # shown above them
    clips: list[SampleClip]


# -- finding clips ---------------------------------------------------------------


def dataset_of_test(config: Union[Config, Mapping, None]) -> dict:
    """Settings of the data set that a config tests on; empty if it has none."""
    loader = (config or {}).get('test_dataloader')
    dataset = loader.get('dataset') if isinstance(loader, Mapping) else None
    return dict(dataset) if isinstance(dataset, Mapping) else {}


def find_clips(data_root: str, name: str, split: int, num_classes: int,
               dataset: Optional[Mapping] = None) -> ClipSources:
    """Name and label of each clip of a test -> path of its video, or of its frames.

    Args:
        data_root: Folder that ``tools/prepare_data.py`` wrote.
        name: Data set, as the score file names it; '' if it does not.
        split: Number of the official split; 0 if unknown.
        num_classes: Labels lie in [0, num_classes).
        dataset: Settings of the config's test data set, of :func:`dataset_of_test`: its
            kind, lists and folders. Default: those of the layout.

    Raises:
        FileNotFoundError: The data root, its list or its folder is missing.
        ValueError: The data set is unknown, or a line of the list is damaged.
    """
    dataset = dict(dataset or {})
    name = name or dataset.get('name', '')
    if not name or name != os.path.basename(name):
        raise ValueError(f'The score file names its data set {name!r}, which names no '
                         'list in a data root: give the config of the test.')
    split = split or dataset.get('split', 1)
    settings = dict(
        data_root=os.fspath(data_root), name=name, split=split, pipeline=[],
        num_classes=num_classes, subset=dataset.get('subset', 'val'), test_mode=True)
    kind = type_name(dataset)
    if kind not in _KINDS:
        # Videos, unless there are lists of frames only.
        stem = '{data_root}/{name}_{subset}_split_{split}_'.format(**settings)
        kind = next((one for one, end in _KINDS.items()
                     if os.path.isfile(f'{stem}{end}.txt')), next(iter(_KINDS)))
    elif dataset.get('split', split) == split:
        # A list that the config names belongs to the config's split.
        settings.update({key: dataset[key] for key in ('ann_file', 'data_prefix')
                         if dataset.get(key) is not None})
    # For a model of optical flow, people see the RGB frames beside the flow.
    if kind == 'ActionFrameDataset' and dataset.get('modality', 'RGB') == 'RGB':
        settings['filename_tmpl'] = dataset.get('filename_tmpl')
    with DefaultScope.overwrite_default_scope('mmaction'):
        listed = DATASETS.build(dict(settings, type=kind))
    items = map(listed.get_data_info, range(len(listed)))
    return {(item['sample_id'], item['label']): item.get('filename') or [
        os.path.join(item['frame_dir'], listed.filename_tmpl.format(number))
        for number in range(1, item['total_frames'] + 1)] for item in items}


# -- choosing clips --------------------------------------------------------------


def sample_groups(results: ActionResults, names: Sequence[str], count: int
                  ) -> list[SampleGroup]:
    """Clips of the most confused pairs, the hardest and the nearly right clips.

    Args:
        results: Of a test.
        names: Of its classes.
        count: Number of pairs, of hardest and of nearly right clips.
    """
    def sample(row: int, of_pair: str = '') -> SampleClip:
        return SampleClip(row, results.mistake(row, names),
                          of_pair + results.certainty(row),
                          str(results.sample_id[row]))

    pairs = [sample(row, f'{len(pair.rows)} of its clips ({pair.share:.0%}), as this: ')
             for pair in results.pairs(count) for row in pair.rows[:_CLIPS_PER_PAIR]]
    hardest = results.hardest(count).tolist()
    # If there are few mistakes, the hardest are among the nearest as well.
    nearest = [row for row in results.nearest(count).tolist() if row not in hardest]
    groups = [
        SampleGroup('confused_pairs', 'Most confused pairs', pairs),
        SampleGroup('hardest_clips', 'Hardest clips: lowest probability of the true '
                    'class', list(map(sample, hardest))),
        SampleGroup('near_misses', 'Nearly right: wrong clips with the highest '
                    'probability of the true class', list(map(sample, nearest)))]
    return [group for group in groups if group.clips]


def changed_samples(comparison: ActionComparison, names: Sequence[str], count: int
                    ) -> Optional[SampleGroup]:
    """The most confident clips that one of two models alone gets right.

    Args:
        comparison: Of two results; rows are those of both.
        names: Of their classes.
        count: Number of clips won, and of clips lost.
    """
    first, second = comparison.first, comparison.second
    changed, clips = comparison.changed(), []
    for is_won, who in ((True, 'second'), (False, 'first')):
        clips += [SampleClip(
            row, f'{names[first.label[row]]}: only the {who} is right',
            f'first: {first.verdict(row, names)} · second: '
            f'{second.verdict(row, names)}', str(first.sample_id[row]))
            for row in [row for row, won in changed if won == is_won][:count]]
    return SampleGroup('changed_clips', 'Clips won and lost', clips) if clips else None


# -- strips of frames ------------------------------------------------------------


def read_strips(results: ActionResults, rows: Sequence[int], clips: ClipSources,
                height: int = 112, show_progress: bool = True
                ) -> tuple[dict[int, np.ndarray], list[str]]:
    """Read some clips as strips: frames from the middle of equal parts, side by side.

    Args:
        results: Whose clips.
        rows: Rows of the clips; repeated ones are read once.
        clips: Of :func:`find_clips`.
        height: Of the strips, in pixels.
        show_progress: Show a progress bar, on a terminal.

    Returns:
        Row of a clip -> strip (height, W, 3), uint8, RGB; and why other clips have
        none, one line for each.
    """
    images, problems = {}, []
    for row in progress_bar(list(dict.fromkeys(rows)), 'frames of clips', 'clip',
                            show=show_progress, leave=False):
        name, label = str(results.sample_id[row]), int(results.label[row])
        source = clips.get((name, label))
        if source is None:
            problems.append(f'The list of the data set has no clip {name!r} of class '
                            f'{label}.')
            continue
        try:
            images[row] = _strip(source, height)
        except (OSError, ValueError, UnreadableVideo) as error:
            problems.append(f'Clip {name!r} cannot be read: {error}')
    return images, problems


def _strip(source: Union[str, Sequence[str]], height: int) -> np.ndarray:
    """(height, ..., 3) uint8, RGB."""
    if isinstance(source, str):
        reader = open_video(source)
        frames = reader.get_batch(
            evenly_spaced_indices(len(reader), _NUM_FRAMES).numpy())
    else:
        frames = read_frames([source[index] for index in evenly_spaced_indices(
            len(source), _NUM_FRAMES).tolist()])
    between = np.full((height, _GAP, 3), np.array(to_rgb(INK)) * 255, dtype=np.uint8)
    parts = [part for frame in frames
             for part in (between, fit(frame, (height, 99 * height)))]
    return np.concatenate(parts[1:], axis=1)


def plot_strips(strips: Sequence[np.ndarray], clips: Sequence[SampleClip],
                title: str = '') -> Figure:
    """Plot strips of frames, two in a row, each below its caption.

    Args:
        strips: At least one image (H, W, 3), uint8, of :func:`read_strips`.
        clips: One for each strip.
        title: Shown above all.
    """
    widest = max(strip.shape[1] for strip in strips)
    heights = [_PAGE_INCHES / 2 * max(strip.shape[0] for strip in pair) / widest
               for pair in zip_longest(strips[::2], strips[1::2], fillvalue=strips[0])]
    with style():
        figure = new_figure(_PAGE_INCHES, sum(heights) + 0.52 * len(heights) + 0.35)
        grid = figure.subplots(len(heights), 2, squeeze=False, height_ratios=heights)
        for axes in grid.flat:
            axes.set_axis_off()
            axes.set_anchor('NW')
        for axes, strip, clip in zip(grid.flat, strips, clips):
            axes.imshow(strip, aspect='equal')
            axes.set_title(shown_name(clip.heading, 54), fontsize=7.5, pad=22)
            below = shown_name(clip.text, 72), shown_name(clip.name, 68)
            axes.annotate('\n'.join(below), (0, 1), (0, 2), 'axes fraction',
                          'offset points', fontsize=6.5, va='bottom')
        if title:
            figure.suptitle(shown_name(title, 90), fontsize=10, fontweight='bold',
                            x=0.01, ha='left')
    return figure

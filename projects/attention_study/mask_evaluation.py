"""Do the masks find the object? Attention of a model against drawn silhouettes.

COSAM's paper calls it co-segmentation, and nobody has told the module what to segment.
Drawn data know the true silhouette of each frame::

    video --- test pipeline, model ---> maps (M, T', h, w)
      |                                   | placed on the frames, as far as the network
      v                                   v saw them, between places by interpolation
    drawn again --> silhouettes ---> agreement, pixel by pixel

Masks come to the pixels, and not the silhouette to the mask's places: so that maps of
different resolutions face one truth, and a coarse mask pays for its coarseness. How
much it pays is told beside it: by the silhouette itself, averaged over the map's places
and brought to the pixels like the map.
"""
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Optional

import numpy as np
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from torch import nn

from cosam_mm.apis.model_loading import scope_of
from cosam_mm.datasets.synthetic.ground_truth import SyntheticVideo
from cosam_mm.layers import COSAM
from cosam_mm.layers.cosam_functional import evenly_spaced_indices
from cosam_mm.models.converters import read_checkpoint
from cosam_mm.utils.progress import progress_bar
from cosam_mm.visualization.mask_placement import (
    Box,
    average_places,
    first_showings,
    frame_masks,
    place_mask,
    seen_pixels,
    step_means,
)
from cosam_mm.visualization.mask_views import ClipReader, padded_view

from .attention_maps import AttentionMap, offered_maps, record_attention
from .mask_agreement import MaskAgreement, mask_agreement

__all__ = ['MapAgreement', 'choose_evenly', 'epoch_of', 'evaluate_masks',
           'split_of_test']

# Of a tracklet; drawn ones are shorter.
_MAX_FRAMES = 64


@dataclass(frozen=True)
class MapAgreement:
    """How one map of a model agrees with the silhouettes, video by video.

    Attributes:
        map: Which.
        grid: (T', h, w), of the map.
        videos: Of each video its means over frames.
        coarse: The same of the silhouette itself at the map's resolution: about the
            best that such a map can do.
    """
    map: AttentionMap
    grid: tuple[int, int, int]
    videos: Sequence[MaskAgreement]
    coarse: Sequence[MaskAgreement]

    @property
    def coarse_auc(self) -> float:
        """Mean AUC of the silhouette at the map's resolution."""
        return float(np.mean([one.auc for one in self.coarse if one.num_frames]))

    def mean(self, figure: str) -> float:
        """Mean of a figure of :class:`MaskAgreement` over the videos that have it."""
        return float(np.mean(self._values(figure)))

    def deviation(self, figure: str) -> float:
        """Standard deviation between these videos; 0 where there is one."""
        values = self._values(figure)
        return float(np.std(values, ddof=1)) if len(values) > 1 else 0.

    def _values(self, figure: str) -> list[float]:
        return [getattr(one, figure) for one in self.videos if one.num_frames]

    def as_dict(self) -> dict:
        """Plain values, for JSON."""
        figures = {f'{name}_{kind}': read(name)
                   for name in ('auc', 'best_iou', 'share_iou', 'share')
                   for kind, read in (('mean', self.mean),
                                      ('deviation', self.deviation))}
        return dict(
            map=self.map.kind, place=self.map.place, grid=list(self.grid), **figures,
            coarse_silhouette_auc=self.coarse_auc, num_videos=len(self._values('auc')),
            num_frames=sum(one.num_frames for one in self.videos),
            num_frames_left_out=sum(one.num_left_out for one in self.videos),
            auc_of_videos=[one.auc if one.num_frames else None for one in self.videos])


def evaluate_masks(model: nn.Module, videos: Sequence[SyntheticVideo],
                   kinds: Optional[Sequence[str]] = None,
                   layers: Optional[Sequence[str]] = None,
                   progress: bool = False) -> list[MapAgreement]:
    """Hold the maps of a model against silhouettes.

    Args:
        model: In evaluation mode, with ``cfg``.
        videos: Of ``synthetic_test_videos`` of
            :mod:`cosam_mm.datasets.synthetic.ground_truth`.
        kinds: Of :data:`~.attention_maps.MAPS`. Default: all that the model offers.
        layers: As for :func:`~.attention_maps.record_attention`.
        progress: Show a bar, where the error stream is a terminal.

    Returns:
        One entry a map and place.

    Raises:
        FileNotFoundError: A video is not there.
        ValueError: There is no video, or one that cannot be read or is no longer as
            drawn; no video has a silhouette; the pipeline does more to frames than
            resizes, crops and mirroring; or as for ``record_attention``.
    """
    if not videos:
        raise ValueError('There is no video to look at.')
    kinds = offered_maps(model, layers) if kinds is None else kinds
    clip_len = next((module.num_frames for module in model.modules()
                     if isinstance(module, COSAM)), 1)
    found: dict[AttentionMap, list[_Compared]] = {}
    with scope_of(model.cfg):
        reader = ClipReader(model.cfg, clip_len, _MAX_FRAMES)
        for video in progress_bar(videos, 'masks', 'video', show=progress):
            for key, compared in _evaluate(model, reader, video, kinds, layers).items():
                found.setdefault(key, []).append(compared)
    rows = [MapAgreement(key, of_videos[0].grid, *list(zip(*of_videos))[1:])
            for key, of_videos in found.items()]
    if rows and not any(one.num_frames for one in rows[0].videos):
        raise ValueError('No frame shows both the object and something else.')
    return rows


class _Compared(NamedTuple):
    """A map of one video."""
    grid: tuple[int, int, int]
    agreement: MaskAgreement
    coarse: MaskAgreement


def _evaluate(model: nn.Module, reader: ClipReader, video: SyntheticVideo,
              kinds: Sequence[str], layers: Optional[Sequence[str]]
              ) -> dict[AttentionMap, _Compared]:
    source = video.source
    clip = reader.read(list(map(str, source)) if isinstance(source, (list, tuple))
                       else str(source))
    if clip.box is None:
        raise ValueError(
            "The test pipeline does more to frames than resizes, crops and mirroring: "
            'where a mask lies on them is not known.')
    silhouettes = video.silhouettes(clip.numbers, np.stack(clip.frames))
    truth = _Truth(silhouettes, first_showings(clip.numbers), clip.num_clips,
                   padded_view(clip.box, model, clip))
    maps = record_attention(model, pseudo_collate(list(clip.samples)), clip.num_clips,
                            kinds, layers)
    grids = {tuple(values.shape[1:]) for values in maps.values()}
    coarse = {grid: truth.agreement(truth.at_resolution(grid)) for grid in grids}
    return {key: _Compared(tuple(values.shape[1:]), truth.agreement(values.numpy()),
                           coarse[tuple(values.shape[1:])])
            for key, values in maps.items()}


@dataclass(frozen=True)
class _Truth:
    """What the frames of a video's clips truly show.

    Attributes:
        silhouettes: (M * T, H, W) bool.
        kept: Numbers of the frames that count, each of the video once.
        num_clips: M.
        box: What the network sees of a frame.
    """
    silhouettes: np.ndarray
    kept: np.ndarray
    num_clips: int
    box: Box

    def agreement(self, maps: np.ndarray) -> MaskAgreement:
        """Of maps (M, T', h, w), at the pixels that the network sees."""
        size = self.silhouettes.shape[1:]
        seen = seen_pixels(size, self.box)
        of_frames = frame_masks(maps, len(self.silhouettes) // self.num_clips)
        # In single precision, places of one value stay ties between their centres.
        placed = np.stack([place_mask(mask, size, self.box)[seen]
                           for mask in of_frames[self.kept]]).astype(np.float32)
        return mask_agreement(placed, self.silhouettes[self.kept][:, seen])

    def at_resolution(self, grid: tuple[int, int, int]) -> np.ndarray:
        """The silhouettes as maps (M, T', h, w)."""
        means = np.stack([average_places(one, grid[1:], self.box)
                          for one in self.silhouettes])
        return step_means(means.reshape(self.num_clips, -1, *grid[1:]), grid[0])


def choose_evenly(videos: Sequence[Any], count: int) -> list[Any]:
    """So many of them, spread evenly; all, where there are no more.

    >>> choose_evenly('abcdefgh', 2)
    ['c', 'g']
    """
    if count >= len(videos):
        return list(videos)
    return [videos[k] for k in evenly_spaced_indices(len(videos), count).tolist()]


def epoch_of(checkpoint: str) -> Optional[int]:
    """The epoch after which a checkpoint was written; None where it does not tell.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no checkpoint.
    """
    content = read_checkpoint(checkpoint)
    meta = content.get('meta') if isinstance(content, dict) else None
    epoch = (meta or {}).get('epoch')
    return epoch if isinstance(epoch, int) else None


def split_of_test(config: Config) -> int:
    """The split that a config tests on; 1 where there are none."""
    loader = config.get('test_dataloader') or config.get('val_dataloader') or {}
    return (loader.get('dataset') or {}).get('split') or 1

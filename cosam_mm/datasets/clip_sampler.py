"""Clips for projects whose data sets know single images only.

A 2-D backbone with COSAM has the frames of its clips in the batch, next to one
another. mmpretrain and mmdetection load image by image and shuffle images, which
would tear clips apart. This sampler shuffles clips and leaves each as it is:

    data set    0 1 2 | 3 4 5 | 6 7 8        frames in order, 3 a clip
    an epoch    6 7 8 | 0 1 2 | 3 4 5
"""
from collections.abc import Iterator
from typing import Optional

import torch
from mmengine.dist import get_dist_info, sync_random_seed
from torch.utils.data import Dataset, Sampler

from cosam_mm.registry import DATA_SAMPLERS

__all__ = ['ClipSampler']


@DATA_SAMPLERS.register_module()
class ClipSampler(Sampler):
    """Indices of frames, the frames of a clip in order and together.

    The loader's ``batch_size`` must be a multiple of ``clip_len``, and it must not
    regroup images: no ``batch_sampler``. On several ranks each takes every n-th
    clip of the same order; where clips do not come out even, training repeats some.

    Args:
        dataset: Frames 0 to ``clip_len`` - 1 are the first clip, and so on.
        clip_len: Frames of a clip.
        shuffle: Whether to shuffle the clips; each epoch in another way.
        seed: The same on all ranks; None chooses one and shares it.

    Raises:
        ValueError: ``clip_len`` is below 1 or does not divide the number of frames,
            or clips that are not shuffled, as for testing, cannot be shared out
            among the ranks evenly.

    Example:
        >>> list(ClipSampler(range(6), clip_len=3, shuffle=False))
        [0, 1, 2, 3, 4, 5]
        >>> list(ClipSampler(range(6), clip_len=3, seed=1))
        [3, 4, 5, 0, 1, 2]
    """

    def __init__(self, dataset: Dataset, clip_len: int, shuffle: bool = True,
                 seed: Optional[int] = None) -> None:
        if clip_len < 1:
            raise ValueError(f'clip_len must be at least 1, got {clip_len}.')
        if not len(dataset) or len(dataset) % clip_len:
            raise ValueError(
                f'The data set holds {len(dataset)} frames, which are no clips of '
                f'{clip_len}: list every clip with clip_len frames, or change '
                'clip_len.')
        self.clip_len = clip_len
        self.shuffle = shuffle
        self.rank, self.world_size = get_dist_info()
        self.num_clips = len(dataset) // clip_len
        if not shuffle and self.num_clips % self.world_size:
            raise ValueError(
                f'{self.num_clips} clips cannot be shared out evenly among '
                f'{self.world_size} ranks, and repeated ones would count twice: '
                'test on one.')
        self.seed = sync_random_seed() if seed is None else seed
        self.epoch = 0

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        clips = list(range(self.num_clips))
        if self.shuffle:
            clips = torch.randperm(self.num_clips, generator=generator).tolist()
        total = self._clips_per_rank * self.world_size
        # The first ones again, as often as the ranks need it.
        clips = (clips * -(-total // len(clips)))[:total]
        for clip in clips[self.rank::self.world_size]:
            yield from range(clip * self.clip_len, (clip + 1) * self.clip_len)

    @property
    def _clips_per_rank(self) -> int:
        return -(-self.num_clips // self.world_size)

    def __len__(self) -> int:
        """Frames of an epoch, on each rank."""
        return self._clips_per_rank * self.clip_len

    def set_epoch(self, epoch: int) -> None:
        """Choose another order; a resumed epoch gets the order it had."""
        self.epoch = epoch

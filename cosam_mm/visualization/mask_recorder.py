"""A model at work on a video, and the masks that its COSAMs make."""
from typing import Any, Optional

import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from torch import nn

from cosam_mm.apis.model_loading import read_trained_model, scope_of
from cosam_mm.layers import COSAM
from cosam_mm.layers.mask_recording import record_masks

from .mask_clip import AFTER, BEFORE, ClipMasks, MaskedClip, masks_of_frames
from .mask_inputs import clip_frames, is_bgr, to_pictures
from .mask_models import load_model, seed_of_training, untrained_model
from .mask_placement import WHOLE_FRAME, Box, first_showings
from .mask_views import ClipReader, ReadClip, padded_view

__all__ = ['MaskRecorder', 'make_recorder']


class MaskRecorder:
    """Masks of videos.

    Videos go through the model as in a test, but for several views of one (ten crops,
    several clips): of these the middle one is taken. Of tracklets, and of videos whose
    frames are single images to the model, the first ``max_frames`` frames count.

    Args:
        model: Any that holds a COSAM, in evaluation mode, with ``cfg``, as
            :func:`~.loading.load_model` and :func:`~.loading.untrained_model` return
            them.
        before: The same before training, to compare with.
        max_frames: See above.

    Raises:
        ValueError: The test pipeline of the config loads nothing that is known here.
    """

    def __init__(self, model: nn.Module, before: Optional[nn.Module] = None,
                 max_frames: int = 64) -> None:
        self.models = {'': model} if before is None else {BEFORE: before, AFTER: model}
        clip_len = next(module.num_frames for module in model.modules()
                        if isinstance(module, COSAM))
        self._scope = model.cfg
        self._reader = ClipReader(model.cfg, clip_len, max_frames)

    def record(self, video: Any) -> MaskedClip:
        """Frames and masks of a video.

        Args:
            video: As for :meth:`~.views.ClipReader.read`.

        Returns:
            The frames as they were loaded; or, where the pipeline does more to them
            than resizes, crops and flips, as the network gets them. A frame that
            comes twice, as in a video that is looped, is there once.

        Raises:
            FileNotFoundError: There is no such file or folder.
            ValueError: It is no video, or it cannot be read.
        """
        with scope_of(self._scope):
            clip = self._reader.read(video)
            kept = first_showings(clip.numbers)
            masks = {state: _run(model, clip, kept)
                     for state, model in self.models.items()}
            frames, box = self._frames(clip)
        return MaskedClip(clip.name, [frames[k] for k in kept], clip.numbers[kept],
                          masks, box, clip.fps)

    def _frames(self, clip: ReadClip) -> tuple[list[np.ndarray], Box]:
        """All frames of the clip, and what the network sees of them."""
        model = next(iter(self.models.values()))
        inputs = [sample['inputs'] for sample in clip.samples]
        if clip.box is None:
            views = len(inputs[0]) if inputs[0].dim() == 5 else clip.num_clips
            frames = torch.cat([clip_frames(inputs, views, number)
                                for number in range(clip.num_clips)])
            return to_pictures(frames, is_bgr(model)), WHOLE_FRAME
        frames = [to_pictures(torch.from_numpy(frame).permute(2, 0, 1)[None])[0]
                  for frame in clip.frames]
        return frames, padded_view(clip.box, model, clip)


def _run(model: nn.Module, clip: ReadClip, kept: np.ndarray) -> dict[str, ClipMasks]:
    with torch.no_grad(), record_masks(model) as record:
        model.test_step(pseudo_collate(list(clip.samples)))
    count = len(clip.frames) // clip.num_clips
    return {name: masks_of_frames(masks, count, kept, slice(clip.num_clips))
            for name, masks in record.masks().items()}


def make_recorder(config: Any, checkpoint: Any, with_before: bool = False,
                  device: Any = None, seed: Optional[int] = None,
                  max_frames: int = 64) -> MaskRecorder:
    """A recorder of a config's model.

    Args:
        config: As mmengine's ``Config``.
        checkpoint: File of its weights; None for those before training.
        with_before: Whether to compare with the weights before training.
        device: Default: the GPU, if there is one.
        seed: Of the weights before training. Default: that of the checkpoint, else
            that of the config, else 0.
        max_frames: As for :class:`MaskRecorder`.

    Raises:
        FileNotFoundError: A file is not there.
        ValueError: As for :func:`~.loading.load_model` and
            :func:`~.loading.untrained_model`.
    """
    model = before = None
    if checkpoint is not None:
        checkpoint = read_trained_model(checkpoint, config)
        model = load_model(checkpoint, device=device)
    if checkpoint is None or with_before:
        if seed is None:
            seed = seed_of_training(None, config) if checkpoint is None \
                else checkpoint.seed
        before = untrained_model(config, seed, device)
    if model is None:
        model, before = before, None
    return MaskRecorder(model, before, max_frames)

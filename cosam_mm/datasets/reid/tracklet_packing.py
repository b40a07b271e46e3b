"""The last transform: frames into one tensor, the rest into a data sample."""
from collections.abc import Sequence

import numpy as np
import torch
from mmengine.registry import TRANSFORMS

from cosam_mm.structures.tracklet_data_sample import TrackletDataSample

__all__ = ['PackTrackletInputs', 'stack_clips']

NEEDED_KEYS = ('pid', 'label', 'camid', 'subset', 'tracklet_id', 'dataset',
               'num_frames', 'num_clips', 'clip_len', 'clip_sampling')


def stack_clips(frames: Sequence[np.ndarray], clip_len: int) -> torch.Tensor:
    """Stack frames to clips.

    Args:
        frames: num_clips * T arrays (H, W, C), clip by clip.
        clip_len: T.

    Returns:
        (num_clips, C, T, H, W), of the arrays' type.

    Raises:
        ValueError: The frames differ in size.
    """
    shapes = {frame.shape for frame in frames}
    if len(shapes) > 1:
        raise ValueError(
            f'The frames of a tracklet differ in size: {sorted(shapes)}. Put '
            'ResizeFrames or RandomTranslation2D into the pipeline.')
    height, width, channels = shapes.pop()
    clips = np.stack(frames).reshape(-1, clip_len, height, width, channels)
    return torch.from_numpy(np.ascontiguousarray(clips.transpose(0, 4, 1, 2, 3)))


@TRANSFORMS.register_module()
class PackTrackletInputs:
    """Make what the model gets of a tracklet.

    Gives ``inputs``, a uint8 tensor (num_clips, C, T, H, W), and ``data_samples``, a
    :class:`TrackletDataSample`.

    Args:
        extra_keys: Further keys for the data sample, such as 'img_paths' and
            'frame_inds' for pictures of results.
    """

    def __init__(self, extra_keys: Sequence[str] = ()) -> None:
        self.extra_keys = tuple(extra_keys)

    def __call__(self, results: dict) -> dict:
        keys = dict.fromkeys((*NEEDED_KEYS, *self.extra_keys))
        missing = [key for key in ('imgs', *keys) if key not in results]
        if missing:
            raise ValueError(
                f'PackTrackletInputs needs {missing}, and neither the data set nor a '
                'transform before it gives them.')
        metainfo = {key: results[key] for key in keys}
        metainfo['num_replaced'] = results.get('num_replaced', 0)
        metainfo['unreadable'] = results.get('unreadable', False)
        return dict(
            inputs=stack_clips(results['imgs'], results['clip_len']),
            data_samples=TrackletDataSample(metainfo=metainfo))

    def __repr__(self) -> str:
        return f'{type(self).__name__}(extra_keys={self.extra_keys})'

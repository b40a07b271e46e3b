"""Which frames of a tracklet make the clips that go through the network.

    consecutive   T frames in a row, from a random start          training
    random        T frames anywhere, in order                     training (ablation)
    even          T frames spread evenly over the tracklet        testing, fast
    all_clips     all frames, in clips of T without overlap       testing, the papers'

Gao and Nevatia, *Revisiting Temporal Modeling for Video-based Person ReID*, 2018,
section 4. A tracklet of fewer frames than T, and the rest that is left for the last of
``all_clips``, are looped: 0 1 2 0. Only ``even`` spreads them: 0 0 1 2.

All functions take ``num_frames`` of the tracklet and ``clip_len`` T, both at least 1,
and give (num_clips, T) frame numbers from 0, int64. Draws come from numpy's global
generator, which mmengine seeds in each worker.
"""
import numpy as np
from mmengine.registry import TRANSFORMS

__all__ = [
    'SampleTrackletFrames',
    'all_clips',
    'consecutive_frames',
    'even_frames',
    'random_frames',
]


def consecutive_frames(num_frames: int, clip_len: int) -> np.ndarray:
    """One clip of frames in a row; the start is drawn.

    >>> consecutive_frames(3, 4)
    array([[0, 1, 2, 0]])
    """
    start = np.random.randint(max(num_frames - clip_len, 0) + 1)
    return (start + np.arange(clip_len)[None]) % num_frames


def random_frames(num_frames: int, clip_len: int) -> np.ndarray:
    """One clip of different frames in rising order; the frames are drawn.

    >>> random_frames(3, 4)
    array([[0, 1, 2, 0]])
    """
    if num_frames < clip_len:
        return np.arange(clip_len)[None] % num_frames
    return np.sort(np.random.permutation(num_frames)[:clip_len])[None]


def even_frames(num_frames: int, clip_len: int) -> np.ndarray:
    """One clip of the middle frames of ``clip_len`` equal parts of the tracklet.

    >>> even_frames(12, 4), even_frames(3, 4)
    (array([[ 1,  4,  7, 10]]), array([[0, 1, 1, 2]]))
    """
    return (2 * np.arange(clip_len)[None] + 1) * num_frames // (2 * clip_len)


def all_clips(num_frames: int, clip_len: int) -> np.ndarray:
    """Every frame, in ceil(num_frames / clip_len) clips; the rest of the last loops.

    >>> all_clips(6, 4)
    array([[0, 1, 2, 3],
           [4, 5, 4, 5]])
    """
    num_whole, rest = divmod(num_frames, clip_len)
    clips = np.arange(num_whole * clip_len).reshape(num_whole, clip_len)
    if rest:
        last = num_whole * clip_len + np.arange(clip_len)[None] % rest
        clips = np.concatenate([clips, last])
    return clips


@TRANSFORMS.register_module()
class SampleTrackletFrames:
    """Choose the frames of a tracklet's clips.

    Needs ``img_paths``. Adds ``frame_inds`` (num_clips, T), ``num_clips``,
    ``clip_len``, ``num_frames`` (images of the tracklet) and ``clip_sampling`` (in
    words, for reports).

    Args:
        num_frames: Frames of a clip, T.
        mode: 'consecutive', 'random', 'even' or 'all_clips', see above.
    """

    modes = dict(consecutive=consecutive_frames, random=random_frames,
                 even=even_frames, all_clips=all_clips)

    def __init__(self, num_frames: int = 4, mode: str = 'consecutive') -> None:
        if mode not in self.modes:
            raise ValueError(f'mode must be one of {tuple(self.modes)}, got {mode!r}.')
        if not isinstance(num_frames, int) or num_frames < 1:
            raise ValueError(
                f'num_frames must be an integer of at least 1, got {num_frames!r}.')
        self.num_frames = num_frames
        self.mode = mode

    def __call__(self, results: dict) -> dict:
        num_frames = len(results['img_paths'])
        frame_inds = self.modes[self.mode](num_frames, self.num_frames)
        results.update(
            frame_inds=frame_inds, num_clips=len(frame_inds), num_frames=num_frames,
            clip_len=self.num_frames,
            clip_sampling=f'{self.mode}, {self.num_frames} frames')
        return results

    def __repr__(self) -> str:
        return (f'{type(self).__name__}(num_frames={self.num_frames}, '
                f'mode={self.mode!r})')

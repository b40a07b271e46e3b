"""From a checkpoint and a video file to class names."""
from pathlib import Path
from typing import NamedTuple, Optional

import torch
from mmaction.apis import inference_recognizer, init_recognizer
from mmengine.config import Config
from mmengine.dataset import Compose
from torch import nn

from .config import config_of_checkpoint
from .hooks.guard import describe_misfit

__all__ = ['ClassScore', 'classify', 'find_checkpoint', 'load_recognizer']


class ClassScore(NamedTuple):
    """One class of a prediction."""
    name: str
    probability: float


def find_checkpoint(config_file: str, work_dirs: str = 'work_dirs') -> Path:
    """The checkpoint that training with a config left: its newest best one.

    Args:
        config_file: The config that was trained.
        work_dirs: Folder of all work dirs.

    Raises:
        FileNotFoundError: There is none.
    """
    folder = Path(work_dirs) / Path(config_file).stem
    for pattern in ('best_*.pth', 'epoch_*.pth', 'iter_*.pth'):
        found = sorted(folder.rglob(pattern), key=lambda path: path.stat().st_mtime)
        if found:
            return found[-1]
    raise FileNotFoundError(
        f'There is no checkpoint below {folder}. Train the model first, or name a '
        'checkpoint with --checkpoint.')


def load_recognizer(checkpoint: str, config: Optional[Config] = None,
                    device: str = 'cpu') -> nn.Module:
    """Build a recogniser and fill it from a checkpoint.

    Args:
        checkpoint: File written in training, or by the converter.
        config: Default: the one in the checkpoint, which is read as data.
        device: Where the model goes.

    Returns:
        The model in evaluation mode, with ``cfg`` and ``class_names`` (None where
        the checkpoint does not name its classes).

    Raises:
        FileNotFoundError: There is no such checkpoint.
        ValueError: The checkpoint holds no config and none is given, or its
            parameters do not fit the model.
    """
    if not Path(checkpoint).is_file():
        raise FileNotFoundError(f'There is no checkpoint {checkpoint}.')
    content = torch.load(checkpoint, map_location='cpu', weights_only=True)
    meta = content.get('meta') or {}
    if config is None:
        if 'cfg' not in meta:
            raise ValueError(f'{checkpoint} holds no config: give the config file, '
                             'and this file with --checkpoint.')
        config = config_of_checkpoint(meta['cfg'])
    model = init_recognizer(config, device=device)
    state_dict = content.get('state_dict', content)
    misfit = describe_misfit({k: tuple(v.shape) for k, v in state_dict.items()},
                             {k: tuple(v.shape) for k, v in model.state_dict().items()})
    if misfit:
        raise ValueError(f'{checkpoint} does not fit the model: {misfit}')
    model.load_state_dict(state_dict)
    model.class_names = (meta.get('dataset_meta') or {}).get('classes')
    return model


def classify(model: nn.Module, video: str, topk: int = 5) -> list[ClassScore]:
    """The most probable classes of one video, by the config's test pipeline.

    Args:
        model: From :func:`load_recognizer`.
        video: Video file, or a dict as data sets give it to a pipeline.
        topk: Classes to return, at most as many as there are.

    Returns:
        Classes by falling probability. A class without a name is ``class <label>``.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: No frame of it can be decoded.
    """
    if not Path(video).is_file():
        raise FileNotFoundError(f'There is no video {video}.')
    steps = [dict(step) for step in model.cfg.test_dataloader.dataset.pipeline]
    for step in steps:
        if 'on_unreadable' in step:
            step['on_unreadable'] = 'blank'
    sample = inference_recognizer(model, str(video), Compose(steps))
    if sample.get('unreadable', False):
        raise ValueError(f'{video} cannot be decoded.')
    score = sample.pred_score
    if model.cls_head.average_clips != 'prob':
        score = score.softmax(dim=0)
    probabilities, labels = score.topk(min(topk, len(score)))
    return [ClassScore(model.class_names[k] if model.class_names else f'class {k}', p)
            for k, p in zip(labels.tolist(), probabilities.tolist())]

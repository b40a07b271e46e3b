"""From a checkpoint and a video file to class names."""
from pathlib import Path
from typing import NamedTuple, Optional

import torch
from mmaction.apis import init_recognizer
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from torch import nn

from .trained_model import load_weights, read_trained_model

__all__ = ['ClassScore', 'classify', 'find_checkpoint', 'load_recognizer']


class ClassScore(NamedTuple):
    """One class of a prediction."""
    name: str
    probability: float


def find_checkpoint(work_dir: str) -> Path:
    """The checkpoint that training left in a folder: its newest best one.

    Args:
        work_dir: Folder of a training, or of the trainings of several splits.

    Raises:
        FileNotFoundError: There is none.
    """
    for pattern in ('best_*.pth', 'epoch_*.pth', 'iter_*.pth'):
        found = sorted(Path(work_dir).rglob(pattern),
                       key=lambda path: path.stat().st_mtime)
        if found:
            return found[-1]
    raise FileNotFoundError(
        f'There is no checkpoint below {work_dir}. Train the model first, or name a '
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
        ValueError: The file is no checkpoint, it holds no config and none is given,
            or its parameters do not fit the model.
    """
    trained = read_trained_model(checkpoint, config)
    model = init_recognizer(trained.config, device=device)
    load_weights(model, trained)
    model.class_names = trained.class_names
    return model


def classify(model: nn.Module, video: str, topk: int = 5) -> list[ClassScore]:
    """The most probable classes of one video, by the config's test pipeline.

    Args:
        model: From :func:`load_recognizer`.
        video: Video file.
        topk: Classes to return, at most as many as there are.

    Returns:
        Classes by falling probability. A class without a name is ``class <label>``.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: No frame of it can be decoded, the model does not see RGB videos,
            or ``topk`` is below 1.
    """
    if topk < 1:
        raise ValueError(f'topk must be at least 1, got {topk}.')
    if not Path(video).is_file():
        raise FileNotFoundError(f'There is no video {video}.')
    sample = _video_pipeline(model.cfg)(
        dict(filename=str(video), label=-1, start_index=0, modality='RGB'))
    if sample is None:
        raise ValueError(f'{video} cannot be decoded.')
    with torch.no_grad():
        score = model.test_step(pseudo_collate([sample]))[0].pred_score
    if model.cls_head.average_clips != 'prob':
        score = score.softmax(dim=0)
    probabilities, labels = score.topk(min(topk, len(score)))
    return [ClassScore(model.class_names[k] if model.class_names else f'class {k}', p)
            for k, p in zip(labels.tolist(), probabilities.tolist())]


def _video_pipeline(config: Config) -> Compose:
    """The test pipeline of a config, giving None for what cannot be read."""
    dataset = config.test_dataloader.dataset
    steps = [dict(step) for step in dataset.pipeline]
    if not any(step['type'].endswith('Init') for step in steps):
        seen = {'Flow': 'optical flow'}.get(dataset.get('modality'), 'frames')
        raise ValueError(
            f'The test pipeline of this model reads {seen} from folders of images, '
            'and a video file does not do. Extract frames with tools/prepare_data.py '
            'and use tools/test.py.')
    for step in steps:
        if 'on_unreadable' in step:
            step['on_unreadable'] = 'skip'
    return Compose(steps)

"""Tracklets as image files, and checkpoints of a small re-ID model."""
import os

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

SIZE = (32, 16)
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def reid_config(**backbone) -> Config:
    """As tools/train.py would have it, with data roots that are nowhere."""
    pipeline = [
        dict(type='SampleTrackletFrames', num_frames=4, mode='all_clips'),
        dict(type='LoadTrackletFrames', on_unreadable='blank'),
        dict(type='ResizeFrames', size=SIZE),
        dict(type='PackTrackletInputs')]
    part = dict(type='MARS', data_root='nowhere', pipeline=pipeline)
    return Config(dict(
        default_scope='mmengine',
        custom_imports=dict(imports=['cosam_mm']),
        model=dict(
            type='VideoReID',
            data_preprocessor=dict(type='TrackletPreprocessor', mean=MEAN, std=STD),
            backbone=dict(dict(type='FrameResNet', depth=14, base_channels=8,
                               last_stride=1), **backbone),
            aggregation=dict(type='TemporalPoolAggregation'),
            head=dict(type='IdentityHead', num_pids=5)),
        test_dataloader=dict(dataset=dict(
            type='QueryGalleryDataset', query=part, gallery=part)),
        test_evaluator=dict(type='ReIDMetric', distance='euclidean')))


def build_model(config: Config, seed: int = 0):
    """The model of any config with random weights, in evaluation mode."""
    torch.manual_seed(seed)
    with DefaultScope.overwrite_default_scope(config.get('default_scope')):
        return MODELS.build(config.model).eval()


def write_checkpoint(path, config: Config, seed: int = 0, model=None, meta=(),
                     **changes) -> str:
    """A checkpoint as training writes it; parameters of None are left out."""
    state = dict((model or build_model(config, seed)).state_dict(), **changes)
    state = {name: value for name, value in state.items() if value is not None}
    torch.save(dict(state_dict=state, meta=dict(meta, cfg=config.pretty_text)), path)
    return str(path)


def write_tracklet(folder, num_frames: int, seed: int) -> str:
    """Frames of one texture with noise of its own on each; gives the folder."""
    os.makedirs(folder, exist_ok=True)
    rng = np.random.default_rng(seed)
    texture = cv2.resize(rng.integers(0, 256, (8, 4, 3), dtype=np.uint8), SIZE[::-1])
    for frame in range(num_frames):
        noise = rng.integers(-20, 21, texture.shape)
        image = np.clip(texture + noise, 0, 255).astype(np.uint8)
        data = cv2.imencode('.jpg', image)[1].tobytes()
        with open(os.path.join(folder, f'{frame}.jpg'), 'wb') as file:
            file.write(data)
    return str(folder)


def write_folder(root, num_tracklets: int = 6) -> str:
    """Tracklets <root>/p<k>/c<k % 2>/t, of 1, 4, 7, ... frames."""
    for number in range(num_tracklets):
        write_tracklet(os.path.join(root, f'p{number}', f'c{number % 2}', 't'),
                       1 + 3 * number, number)
    return str(root)

"""Work dirs as trainings and tests leave them, without a training."""
import json
import os

import numpy as np
import torch

CONFIG = '''model = dict(
    backbone=dict(type='ResNeXt3D', depth=14, plugins=[dict(
        cfg=dict(type='COSAM', num_frames=4, spatial_size=(4, 4), with_channel=False),
        position='after_layer3')]),
    cls_head=dict(type='BERTHead', num_classes=2), type='Recognizer3D')
train_cfg = dict(max_epochs=30)
test_dataloader = dict(dataset=dict(
    type='ActionVideoDataset', name='demo', split=2, data_root={data_root!r}, pipeline=[
        dict(type='SampleFrames', clip_len=32, num_clips=1), dict(type='TenCrop')]))
'''
TRAINED, TESTED = '20260102_030405', '20260103_030405'
LOG = '''2026/01/02 03:04:05 - mmengine - INFO -
System environment:
    sys.platform: linux
    Python: 3.11.7 (main)
    CUDA available: True
    GPU 0: NVIDIA H200
    PyTorch: 2.13.0
    MMEngine: 0.10.7
'''
METRICS = {'acc/top1': 0.75, 'acc/mean1': 0.5, 'acc/cross_entropy': 0.25, 'time': 1.0}


def write_checkpoint(path, **meta):
    state = {'layer.weight': torch.zeros(3, 4), 'bn.running_mean': torch.zeros(50)}
    torch.save(dict(state_dict=state, meta=dict(
        dict(epoch=20, iter=1234, seed=7, time='20260102_040000', cfg='',
             experiment_name=f'net_{TRAINED}',
             dataset_meta=dict(dataset='demo', split=2, classes=['a', 'b'])),
        **meta)), path)


def write_scores(path, **changes):
    """A score file of four clips of two classes, the second of them wrong."""
    from cosam_mm.evaluation.metrics.action_metric import save_scores

    scores = dict(
        sample_id=[f'c/{at}' for at in range(4)], label=[0, 0, 1, 1], dataset='demo',
        score=np.array([[2, 1], [1, 2], [0, 3], [0, 4]]), split=2, score_type='logit')
    scores |= changes
    scores.setdefault('unreadable', np.zeros(len(scores['label']), bool))
    save_scores(str(path), scores)


def write_features(path):
    from cosam_mm.evaluation.reid_features import save_features

    save_features(str(path), dict(
        feature=np.eye(4), pid=[1, 2, 1, 2], camid=[0, 0, 1, 1],
        subset=['query', 'query', 'gallery', 'gallery'],
        tracklet_id=['a', 'b', 'c', 'd'], dataset='mars'))


def write_work_dir(root, data_root='nowhere'):
    """An action training, its test and its scores."""
    run = root / 'run'
    scalars = run / TRAINED / 'vis_data' / 'scalars.json'
    scalars.parent.mkdir(parents=True)
    lines = [{'loss': 2.0, 'lr': .1, 'epoch': 1, 'iter': 1, 'step': 1},
             {'acc/top1': 0.25, 'step': 1}]
    scalars.write_text(''.join(json.dumps(line) + '\n' for line in lines))
    (scalars.parent / f'{TRAINED}.json').write_text(json.dumps(lines[1]))
    (scalars.parent / 'config.py').write_text(CONFIG.format(data_root=data_root))
    (run / TRAINED / f'{TRAINED}.log').write_text(LOG)
    (run / 'net.py').write_text(CONFIG.format(data_root=data_root))
    for name in ('epoch_20', 'best_acc_top1_epoch_9', 'best_acc_top1_epoch_20'):
        write_checkpoint(run / f'{name}.pth')
        os.utime(run / f'{name}.pth', (1e9, 1e9))  # as in a copied folder
    test = root / 'test' / TESTED / f'{TESTED}.json'
    test.parent.mkdir(parents=True)
    test.write_text(json.dumps(METRICS))
    write_scores(root / 'scores.npz')
    return root

"""Small ResNet + COSAM + mean over frames for generated persons."""
_base_ = [
    '../_base_/models/reid_resnet14_tp.py',
    '../_base_/datasets/reid_demo.py',
    '../_base_/schedules/reid_demo.py',
    '../_base_/reid_runtime.py',
]
cosam = dict(type='COSAM', num_frames=4, spatial_size=(4, 2))
model = dict(backbone=dict(plugins=[
    dict(cfg=cosam, position='after_layer3'),
    dict(cfg=cosam, position='after_layer4')]))

"""A small model for videos of your own; learns from scratch on a CPU."""
_base_ = [
    './_base_/models/resnext14_bert.py',
    './_base_/datasets/own_rgb_64.py',
    './_base_/schedules/demo.py',
    './_base_/demo_runtime.py',
]
cosam = dict(type='COSAM', num_frames=4, spatial_size=(4, 4))
model = dict(backbone=dict(plugins=[dict(cfg=cosam, position='after_layer3')]))

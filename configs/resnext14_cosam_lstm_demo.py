"""Small 3-D ResNeXt + COSAM + LSTM for generated clips."""
_base_ = [
    './_base_/models/resnext14_lstm.py',
    './_base_/datasets/demo_rgb_64.py',
    './_base_/schedules/demo.py',
    './_base_/demo_runtime.py',
]
cosam = dict(type='COSAM', num_frames=4, spatial_size=(4, 4))
model = dict(backbone=dict(plugins=[dict(cfg=cosam, position='after_layer3')]))

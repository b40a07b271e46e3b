_base_ = [
    './_base_/models/resnext101_bert.py',
    './_base_/datasets/hmdb51_rgb_112.py',
    './_base_/schedules/late_temporal.py',
    './_base_/default_runtime.py',
]
cosam = dict(type='COSAM', num_frames=8, spatial_size=(7, 7))
model = dict(
    backbone=dict(plugins=[dict(cfg=cosam, position='after_layer3')]),
    cls_head=dict(num_classes=51))

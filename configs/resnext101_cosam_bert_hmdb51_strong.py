_base_ = [
    './_base_/models/resnext101_bert_strong.py',
    './_base_/datasets/hmdb51_rgb_112_strong.py',
    './_base_/schedules/strong.py',
    './_base_/strong_runtime.py',
]
cosam = dict(type='COSAM', num_frames=8, spatial_size=(7, 7))
blends = [dict(blend, num_classes=51) for blend in _base_.blends]
model = dict(
    backbone=dict(plugins=[dict(cfg=cosam, position='after_layer3')]),
    cls_head=dict(num_classes=51),
    data_preprocessor=dict(blending=dict(augments=blends)))

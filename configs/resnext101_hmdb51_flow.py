_base_ = [
    './_base_/models/resnext101.py',
    './_base_/datasets/hmdb51_flow_112.py',
    './_base_/schedules/late_temporal.py',
    './_base_/default_runtime.py',
]
model = dict(
    backbone=dict(in_channels=2),
    cls_head=dict(num_classes=51, dropout_ratio=0.7),
    data_preprocessor=dict(mean=[127.5, 127.5], std=[1.0, 1.0]))

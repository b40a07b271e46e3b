_base_ = [
    './_base_/models/resnext101_lstm.py',
    './_base_/datasets/ucf101_rgb_112.py',
    './_base_/schedules/late_temporal.py',
    './_base_/default_runtime.py',
]
model = dict(cls_head=dict(num_classes=101))

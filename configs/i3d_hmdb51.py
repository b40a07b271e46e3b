_base_ = [
    './_base_/models/i3d.py',
    './_base_/datasets/hmdb51_rgb_224.py',
    './_base_/schedules/late_temporal.py',
    './_base_/default_runtime.py',
]
model = dict(cls_head=dict(num_classes=51))

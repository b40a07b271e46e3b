"""A model of timm in MMAction2's recogniser, with COSAM, on 8 frames of a video."""
_base_ = [
    '../_base_/models/tsn_r50.py', '../_base_/datasets/hmdb51_rgb_224_segments8.py',
    '../_base_/schedules/late_temporal.py', '../_base_/default_runtime.py'
]

model = dict(
    backbone=dict(
        _delete_=True, type='PluggedBackbone',
        backbone=dict(type='timm.regnety_016', pretrained=True),
        input_shape=(8, 3, 224, 224),
        plugins=[dict(cfg=dict(type='COSAM'), after='s3')]),
    cls_head=dict(in_channels=888))

"""mmdetection's FCOS; COSAM joins the 4 frames of a clip on two levels."""
_base_ = '../_base_/examples/mmdet_frames.py'

model = dict(
    type='FCOS',
    backbone=dict(
        type='PluggedBackbone', input_shape=(4, 3, 512, 512),
        backbone=dict(type='ResNet', depth=50, out_indices=(1, 2, 3)),
        plugins=[dict(cfg=dict(type='COSAM'), after='layer3'),
                 dict(cfg=dict(type='COSAM'), after='layer4')]),
    neck=dict(type='FPN', in_channels=[512, 1024, 2048], out_channels=256,
              num_outs=5, add_extra_convs='on_output'),
    bbox_head=dict(type='FCOSHead', num_classes=2, in_channels=256))

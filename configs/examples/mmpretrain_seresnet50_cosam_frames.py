"""mmpretrain's classifier of single images; COSAM joins the 4 frames of a clip."""
_base_ = '../_base_/examples/mmpretrain_frames.py'

model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='PluggedBackbone', backbone=dict(type='SEResNet', depth=50),
        input_shape=(4, 3, 224, 224),
        plugins=[dict(cfg=dict(type='COSAM'), after='layer3')]),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=2048,
              loss=dict(type='CrossEntropyLoss')))

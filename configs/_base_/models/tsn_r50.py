"""MMAction2's TSN-R50 with its head, on 8 RGB frames in the batch."""
model = dict(
    type='Recognizer2D',
    backbone=dict(
        type='mmaction.ResNet', depth=50, pretrained=None, norm_eval=False),
    cls_head=dict(
        type='TSNHead', num_classes=51, in_channels=2048, spatial_type='avg',
        consensus=dict(type='AvgConsensus', dim=1), dropout_ratio=0.4,
        init_std=0.01, average_clips='score'),
    data_preprocessor=dict(
        type='ActionDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        format_shape='NCHW'))

"""MMAction2's TSM-R50 with its head, on 8 RGB frames in the batch."""
model = dict(
    type='Recognizer2D',
    backbone=dict(
        type='mmaction.ResNetTSM', depth=50, num_segments=8, shift_div=8,
        pretrained=None, pretrained2d=False, norm_eval=False),
    cls_head=dict(
        type='TSMHead', num_classes=51, in_channels=2048, num_segments=8,
        spatial_type='avg', consensus=dict(type='AvgConsensus', dim=1),
        dropout_ratio=0.5, init_std=0.001, is_shift=True, average_clips='score'),
    data_preprocessor=dict(
        type='ActionDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        format_shape='NCHW'))

"""MMAction2's SlowOnly-R50 with its head, on RGB clips of 8 frames."""
model = dict(
    type='Recognizer3D',
    backbone=dict(
        type='mmaction.ResNet3dSlowOnly', depth=50, pretrained=None, lateral=False,
        conv1_kernel=(1, 7, 7), conv1_stride_t=1, pool1_stride_t=1,
        inflate=(0, 0, 1, 1), norm_eval=False),
    cls_head=dict(
        type='I3DHead', num_classes=51, in_channels=2048, spatial_type='avg',
        dropout_ratio=0.5, average_clips='score'),
    data_preprocessor=dict(
        type='ActionDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        format_shape='NCTHW'))

"""MMAction2's I3D-R50 (an inflated ResNet, not Inception) with its head, 32 frames."""
model = dict(
    type='Recognizer3D',
    backbone=dict(
        type='mmaction.ResNet3d', depth=50, pretrained=None, pretrained2d=True,
        conv1_kernel=(5, 7, 7), conv1_stride_t=2, pool1_stride_t=2,
        conv_cfg=dict(type='Conv3d'), norm_eval=False,
        inflate=((1, 1, 1), (1, 0, 1, 0), (1, 0, 1, 0, 1, 0), (0, 1, 0)),
        zero_init_residual=False),
    cls_head=dict(
        type='I3DHead', num_classes=51, in_channels=2048, spatial_type='avg',
        dropout_ratio=0.5, average_clips='score'),
    data_preprocessor=dict(
        type='ActionDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        format_shape='NCTHW'))

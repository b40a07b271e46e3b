"""MMAction2's R(2+1)D-34 with a BERT head, on RGB clips of 32 frames.

The features have 512 channels as they are, so there is no FRMB. The resolution of
every layer is that of Kalfaoglu et al., ECCVW 2020; the stem has a wider middle and
a maximum over 3 x 3 places behind it, which theirs has not. So MMAction2's weights
fit, those of IG65M that they start from do not.
"""
model = dict(
    type='Recognizer3D',
    backbone=dict(
        type='mmaction.ResNet2Plus1d', depth=34, pretrained=None, pretrained2d=False,
        norm_eval=False, conv_cfg=dict(type='Conv2plus1d'),
        norm_cfg=dict(type='BN3d', requires_grad=True, eps=1e-3),
        conv1_kernel=(3, 7, 7), conv1_stride_t=1, pool1_stride_s=1, pool1_stride_t=1,
        inflate=(1, 1, 1, 1), spatial_strides=(1, 2, 2, 2),
        temporal_strides=(1, 2, 2, 2), zero_init_residual=False),
    cls_head=dict(
        type='BERTHead', num_classes=51, in_channels=512, num_tokens=4,
        dropout_ratio=0.8),
    data_preprocessor=dict(
        type='ActionDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        format_shape='NCTHW'))

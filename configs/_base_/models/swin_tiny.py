"""Video Swin-T and its pooled head, both MMAction2's, on 32 frames of 224 x 224."""
model = dict(
    type='Recognizer3D',
    backbone=dict(
        type='SwinTransformer3D',
        arch='tiny',
        pretrained2d=False,
        patch_size=(2, 4, 4),
        window_size=(8, 7, 7),
        mlp_ratio=4.,
        qkv_bias=True,
        drop_path_rate=0.1,
        patch_norm=True),
    cls_head=dict(
        type='I3DHead', num_classes=51, in_channels=768, spatial_type='avg',
        dropout_ratio=0.5, label_smooth_eps=0.1, average_clips='score'),
    data_preprocessor=dict(
        type='ActionDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        format_shape='NCTHW'))

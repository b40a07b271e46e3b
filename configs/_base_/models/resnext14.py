"""A small ResNeXt3D with the plain pooled head, for clips of 32 x 56 x 56."""
model = dict(
    type='Recognizer3D',
    backbone=dict(
        type='ResNeXt3D', depth=14, base_channels=16, groups=8,
        feature_reduction=None),
    cls_head=dict(
        type='MeanHead', num_classes=8, in_channels=512, dropout_ratio=0.2),
    data_preprocessor=dict(
        type='ActionDataPreprocessor',
        mean=[127.5, 127.5, 127.5],
        std=[64.0, 64.0, 64.0],
        format_shape='NCTHW'))

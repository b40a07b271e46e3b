"""Inception I3D with the plain pooled head, on RGB clips of 64 frames."""
model = dict(
    type='Recognizer3D',
    backbone=dict(type='I3D', feature_reduction=None),
    cls_head=dict(
        type='MeanHead', num_classes=51, in_channels=1024, dropout_ratio=0.8),
    data_preprocessor=dict(
        type='ActionDataPreprocessor',
        mean=[127.5, 127.5, 127.5],
        std=[127.5, 127.5, 127.5],
        format_shape='NCTHW'))

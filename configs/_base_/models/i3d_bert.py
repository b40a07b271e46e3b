"""Inception I3D with FRMB and a BERT head, on RGB clips of 64 frames."""
model = dict(
    type='Recognizer3D',
    backbone=dict(type='I3D', feature_reduction='FRMB'),
    cls_head=dict(
        type='BERTHead', num_classes=51, in_channels=512, num_tokens=8,
        dropout_ratio=0.8,
        temporal=dict(
            normalize_tokens=True, embedding_std=None, encoder_std=0.02)),
    data_preprocessor=dict(
        type='ActionDataPreprocessor',
        mean=[127.5, 127.5, 127.5],
        std=[127.5, 127.5, 127.5],
        format_shape='NCTHW'))

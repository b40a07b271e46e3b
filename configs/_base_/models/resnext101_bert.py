"""ResNeXt101-3D with FRMB and a BERT head, on RGB clips of 64 frames."""
model = dict(
    type='Recognizer3D',
    backbone=dict(type='ResNeXt3D', depth=101, feature_reduction='FRMB'),
    cls_head=dict(
        type='BERTHead', num_classes=51, in_channels=512, num_tokens=4,
        dropout_ratio=0.8),
    data_preprocessor=dict(
        type='ActionDataPreprocessor',
        mean=[114.7748, 107.7354, 99.4750],
        std=[1.0, 1.0, 1.0],
        format_shape='NCTHW'))

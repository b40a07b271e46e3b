"""Inception I3D with FRMB and an LSTM head, on RGB clips of 64 frames."""
model = dict(
    type='Recognizer3D',
    backbone=dict(type='I3D', feature_reduction='FRMB'),
    cls_head=dict(
        type='LSTMHead', num_classes=51, in_channels=512, hidden_channels=450,
        num_layers=2, dropout_ratio=0.8),
    data_preprocessor=dict(
        type='ActionDataPreprocessor',
        mean=[127.5, 127.5, 127.5],
        std=[127.5, 127.5, 127.5],
        format_shape='NCTHW'))

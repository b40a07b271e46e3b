"""A small ResNeXt3D with FRMB and an LSTM head, for clips of 32 x 56 x 56."""
model = dict(
    type='Recognizer3D',
    backbone=dict(
        type='ResNeXt3D', depth=14, base_channels=16, groups=8,
        feature_reduction='FRMB', reduced_channels=128),
    cls_head=dict(
        type='LSTMHead', num_classes=8, in_channels=128, hidden_channels=128,
        num_layers=2, dropout_ratio=0.2),
    data_preprocessor=dict(
        type='ActionDataPreprocessor',
        mean=[127.5, 127.5, 127.5],
        std=[64.0, 64.0, 64.0],
        format_shape='NCTHW'))

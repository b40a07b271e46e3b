"""A small ResNet on frames of 64 x 32 and the mean over them (TP)."""
model = dict(
    type='VideoReID',
    data_preprocessor=dict(
        type='TrackletPreprocessor',
        mean=[0.485, 0.456, 0.406],
        std=[0.229, 0.224, 0.225]),
    backbone=dict(type='FrameResNet', depth=14, base_channels=16, last_stride=1),
    aggregation=dict(type='TemporalPoolAggregation'),
    head=dict(type='IdentityHead', num_pids=60),
    losses=dict(
        id=dict(type='IdentityLoss', label_smoothing=0.1),
        triplet=dict(type='BatchHardTripletLoss', margin=0.3)))

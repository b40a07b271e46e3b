"""SE-ResNet50 on frames of 256 x 128 and the mean over them (TP)."""
model = dict(
    type='VideoReID',
    data_preprocessor=dict(
        type='TrackletPreprocessor',
        mean=[0.485, 0.456, 0.406],
        std=[0.229, 0.224, 0.225]),
    backbone=dict(
        type='FrameSEResNet', depth=50, last_stride=1,
        init_cfg=dict(type='Pretrained', checkpoint='imagenet://se_resnet50')),
    aggregation=dict(type='TemporalPoolAggregation'),
    head=dict(type='IdentityHead', num_pids=625),
    losses=dict(
        id=dict(type='IdentityLoss', label_smoothing=0.1),
        triplet=dict(type='BatchHardTripletLoss', margin=0.3)))

"""ResNet50-IBN-a, the mean over frames (TP), and a BNNeck.

Luo et al., *Bag of Tricks and A Strong Baseline for Deep Person Re-identification*,
CVPRW 2019: smoothed cross-entropy behind the neck, triplet and center loss before it.
"""
model = dict(
    type='VideoReID',
    data_preprocessor=dict(
        type='TrackletPreprocessor',
        mean=[0.485, 0.456, 0.406],
        std=[0.229, 0.224, 0.225]),
    backbone=dict(
        type='FrameResNet', depth=50, last_stride=1, ibn='a',
        init_cfg=dict(type='Pretrained', checkpoint='imagenet://resnet50_ibn_a')),
    aggregation=dict(type='TemporalPoolAggregation'),
    neck=dict(type='BNNeck'),
    head=dict(
        type='IdentityHead', num_pids=625, bias=False,
        init_cfg=dict(type='Normal', layer='Linear', std=0.001)),
    losses=dict(
        id=dict(type='IdentityLoss', label_smoothing=0.1),
        triplet=dict(type='BatchHardTripletLoss', margin=0.3),
        center=dict(type='CenterLoss', loss_weight=5e-4)))

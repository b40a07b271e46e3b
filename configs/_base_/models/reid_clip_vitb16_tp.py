"""CLIP's ViT-B/16 on frames of 256 x 128 and the mean over them (TP)."""
model = dict(
    type='VideoReID',
    data_preprocessor=dict(
        type='TrackletPreprocessor',
        mean=[0.48145466, 0.4578275, 0.40821073],
        std=[0.26862954, 0.26130258, 0.27577711]),
    backbone=dict(
        type='CLIPVision',
        init_cfg=dict(
            type='PretrainedCLIP', checkpoint='openai/clip-vit-base-patch16')),
    aggregation=dict(type='TemporalPoolAggregation'),
    head=dict(type='IdentityHead', num_pids=625),
    losses=dict(
        id=dict(type='IdentityLoss', label_smoothing=0.1),
        triplet=dict(type='BatchHardTripletLoss', margin=0.3)))

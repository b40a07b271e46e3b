"""A longer recipe than the paper's: warm-up, cosine, and weights that are averaged.

Goes with ../strong_runtime.py (the average), ../models/*_strong.py (mixup, CutMix and
label smoothing) and ../datasets/*_strong.py (RandAugment). The rate is for backbones
that come with weights; ten times that of late_temporal.py, which never warms up.
"""
max_epochs, warmup_epochs = 100, 5
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

# 8 clips a batch, gradients of 16 batches added up. No decay of norms and biases.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-4, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0., bias_decay_mult=0.),
    clip_grad=dict(max_norm=5),
    accumulative_counts=16)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, begin=0, end=warmup_epochs, by_epoch=True,
         convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', begin=warmup_epochs, end=max_epochs,
         T_max=max_epochs - warmup_epochs, eta_min_ratio=0.01, by_epoch=True,
         convert_to_iter_based=True)
]
auto_scale_lr = dict(enable=False, base_batch_size=8)

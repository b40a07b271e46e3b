"""Fine-tuning of video transformers: AdamW, a tenth of the rate in the backbone.

As MMAction2 trains Video Swin and VideoMAE's authors fine-tune: warm-up, cosine, no
decay of norms and biases, an effective batch of 64. New parts, plugins among them,
learn at the full rate.
"""
max_epochs, warmup_epochs = 50, 5
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

# 8 clips a batch, gradients of 8 batches added up. Of the keys of paramwise_cfg, all
# that occur in a parameter's name multiply its rate and decay.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, betas=(0.9, 0.999), weight_decay=0.05),
    constructor='SwinOptimWrapperConstructor',
    paramwise_cfg=dict(
        backbone=dict(lr_mult=0.1),
        plugins=dict(lr_mult=10.),
        norm=dict(decay_mult=0.),
        bias=dict(decay_mult=0.)),
    accumulative_counts=8)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, begin=0, end=warmup_epochs, by_epoch=True,
         convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', begin=warmup_epochs, end=max_epochs,
         T_max=max_epochs - warmup_epochs, by_epoch=True, convert_to_iter_based=True)
]
auto_scale_lr = dict(enable=False, base_batch_size=8)

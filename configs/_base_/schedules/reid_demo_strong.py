"""As long as the demo's schedule, and as high: warm-up and a cosine, by the step.

OneCycleLR, which the demo's is, sets one rate for all parameters; the centers of the
center loss have their own here.
"""
max_epochs, warmup_epochs = 150, 45
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=50)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='Adam', lr=4e-3, weight_decay=5e-4),
    paramwise_cfg=dict(custom_keys={
        'losses.center.centers': dict(lr_mult=10., decay_mult=0.)}))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.04, begin=0, end=warmup_epochs,
         by_epoch=True, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', begin=warmup_epochs, end=max_epochs,
         T_max=max_epochs - warmup_epochs, eta_min_ratio=1e-5, by_epoch=True,
         convert_to_iter_based=True)
]

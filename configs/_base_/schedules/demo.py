"""A short schedule for two CPU cores."""
max_epochs = 30
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=5)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=2e-3, weight_decay=1e-2),
    clip_grad=dict(max_norm=5))
param_scheduler = [
    dict(type='OneCycleLR', eta_max=2e-3, total_steps=max_epochs,
         convert_to_iter_based=True)
]


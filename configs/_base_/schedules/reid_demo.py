"""A short schedule for two CPU cores: 150 epochs of 8 batches, about 3 minutes."""
max_epochs = 150
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=50)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='Adam', lr=4e-3, weight_decay=5e-4))
param_scheduler = [
    dict(type='OneCycleLR', eta_max=4e-3, total_steps=max_epochs,
         convert_to_iter_based=True)
]

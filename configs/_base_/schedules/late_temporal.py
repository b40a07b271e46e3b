"""The recipe of Kalfaoglu et al., ECCVW 2020: an effective batch of 128."""
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=200, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

# 8 clips a batch, gradients of 16 batches added up.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-5, weight_decay=1e-3),
    accumulative_counts=16)
param_scheduler = [
    dict(type='ReduceOnPlateauLR', monitor='acc/cross_entropy', rule='less', factor=0.1,
         patience=5)
]
auto_scale_lr = dict(enable=False, base_batch_size=8)

"""Fine-tuning of CLIP for re-identification: 5e-6 in the encoder, 20 times that else.

The encoder's rate, its warm-up and the decay are those that Li et al., *CLIP-ReID*,
AAAI 2023, fine-tune it with on images; 160 epochs of 79 batches on MARS are about as
many iterations. New parts, plugins among them, learn faster.
"""
max_epochs, warmup_epochs = 160, 16
train_cfg = dict(
    type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=20)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='Adam', lr=5e-6, weight_decay=1e-4),
    paramwise_cfg=dict(custom_keys=dict(
        plugins=dict(lr_mult=20.), head=dict(lr_mult=20.))))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, begin=0, end=warmup_epochs, by_epoch=True,
         convert_to_iter_based=True),
    dict(type='MultiStepLR', milestones=[80, 130], gamma=0.1, by_epoch=True)
]
auto_scale_lr = dict(enable=False, base_batch_size=32)

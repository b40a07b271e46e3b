"""Warm-up, then two falls: Luo et al., *Bag of Tricks*, CVPRW 2019, on tracklets.

Rate and proportions are the paper's: 10 epochs of warm-up and falls after 40 and 70 of
120, here each times four, since an epoch shows each person once (79 batches on MARS)
and not each image. Adam moves a center by about its rate a step, whatever the loss
weighs; the centers have ten times the rate of the network, and no decay.
"""
max_epochs, warmup_epochs = 480, 40
train_cfg = dict(
    type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=40)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='Adam', lr=3.5e-4, weight_decay=5e-4),
    paramwise_cfg=dict(custom_keys={
        'losses.center.centers': dict(lr_mult=10., decay_mult=0.)}))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, begin=0, end=warmup_epochs, by_epoch=True,
         convert_to_iter_based=True),
    dict(type='MultiStepLR', milestones=[160, 280], gamma=0.1, by_epoch=True)
]
auto_scale_lr = dict(enable=False, base_batch_size=32)

"""The schedule of the COSAM paper's code (Subramaniam et al., ICCV 2019).

An epoch shows each person once: 79 batches of 8 persons on MARS, so 800 epochs are
about the 60,000 iterations of the paper. The paper gives a rate of 1e-4; its code uses
3e-4 for TP and TA, as here, and 1e-4 for RNN: reid_rnn.py.
"""
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=800, val_interval=50)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='Adam', lr=3e-4, weight_decay=5e-4))
param_scheduler = [dict(type='StepLR', by_epoch=True, step_size=200, gamma=0.1)]
auto_scale_lr = dict(enable=False, base_batch_size=32)

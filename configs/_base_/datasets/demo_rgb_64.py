"""The synthetic demo clips: 32 frames of 56 x 56.

No flips, since they turn a motion to the left into one to the right. Training clips start
at a random frame, so that the position within a path tells nothing.
"""
num_splits = 3

train_pipeline = [
    dict(type='SafeDecordInit', on_unreadable='skip'),
    dict(type='SampleFrames', clip_len=32),
    dict(type='SafeDecordDecode'),
    dict(type='RandomCrop', size=56),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs', meta_keys=('img_shape', 'sample_id', 'unreadable')),
]
test_pipeline = [
    dict(type='SafeDecordInit', on_unreadable='blank'),
    dict(type='SampleFrames', clip_len=32, test_mode=True),
    dict(type='SafeDecordDecode'),
    dict(type='CenterCrop', crop_size=56),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs', meta_keys=('img_shape', 'sample_id', 'unreadable')),
]

train_dataloader = dict(
    batch_size=16,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='ActionVideoDataset', data_root='data/demo', name='demo', split=1,
        subset='train', num_classes=8, pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=16,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='ActionVideoDataset', data_root='data/demo', name='demo', split=1,
        subset='val', num_classes=8, pipeline=test_pipeline, test_mode=True))
test_dataloader = val_dataloader

val_evaluator = dict(type='ActionMetric')
test_evaluator = val_evaluator

"""RGB clips decoded from videos: 64 frames of 224 x 224 (Inception I3D).

The recipe is that of Kalfaoglu et al., ECCVW 2020: frames of 340 x 256, multi-scale
crops and flips in training, the centre 64 frames and ten crops in testing. Training
frames are resized, cropped and flipped one by one as they are decoded.
"""
num_splits = 3

train_pipeline = [
    dict(type='SafeDecordInit', on_unreadable='skip'),
    dict(type='SampleFrames', clip_len=64),
    dict(type='SafeDecordDecode', transforms=[
        dict(type='Resize', scale=(340, 256), keep_ratio=False),
        dict(type='MultiScaleCrop', input_size=224, scales=(1, 0.875, 0.75, 0.66),
             num_fixed_crops=13),
        dict(type='Resize', scale=(224, 224), keep_ratio=False),
        dict(type='Flip', flip_ratio=0.5),
    ]),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs', meta_keys=('img_shape', 'sample_id', 'unreadable')),
]
val_pipeline = [
    dict(type='SafeDecordInit', on_unreadable='blank'),
    dict(type='SampleFrames', clip_len=64, test_mode=True),
    dict(type='SafeDecordDecode'),
    dict(type='Resize', scale=(340, 256), keep_ratio=False),
    dict(type='CenterCrop', crop_size=224),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs', meta_keys=('img_shape', 'sample_id', 'unreadable')),
]
test_pipeline = [
    dict(type='SafeDecordInit', on_unreadable='blank'),
    dict(type='SampleFrames', clip_len=64, test_mode=True),
    dict(type='SafeDecordDecode'),
    dict(type='Resize', scale=(340, 256), keep_ratio=False),
    dict(type='TenCrop', crop_size=224),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs', meta_keys=('img_shape', 'sample_id', 'unreadable')),
]

train_dataloader = dict(
    batch_size=8,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='ActionVideoDataset', split=1,
        subset='train', pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=4,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='ActionVideoDataset', split=1,
        subset='val', pipeline=val_pipeline, test_mode=True))
test_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='ActionVideoDataset', split=1,
        subset='val', pipeline=test_pipeline, test_mode=True))

val_evaluator = dict(type='ActionMetric')
test_evaluator = val_evaluator

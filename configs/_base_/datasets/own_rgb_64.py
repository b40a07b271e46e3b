"""Videos of your own: 32 frames of 56 x 56 from all of a clip, however long it is.

``tools/prepare_data.py folder`` makes lists and config. Clips are not mirrored, which
would turn a motion to the left into one to the right.
"""
_base_ = ['./demo_rgb_64.py']
num_splits = 1
resize = dict(type='Resize', scale=(-1, 64))
train_pipeline = [
    dict(type='SafeDecordInit', on_unreadable='skip'),
    dict(type='UniformSample', clip_len=32),
    dict(type='SafeDecordDecode', transforms=[
        resize,
        dict(type='RandomResizedCrop', area_range=(0.4, 1.0)),
        dict(type='Resize', scale=(56, 56), keep_ratio=False),
    ]),
    *_base_.train_pipeline[-2:],
]
test_pipeline = [
    dict(type='SafeDecordInit', on_unreadable='blank'),
    dict(type='UniformSample', clip_len=32, test_mode=True),
    dict(type='SafeDecordDecode', transforms=[resize]),
    *_base_.test_pipeline[-3:],
]
own = dict(data_root='data/own', name='own')
train_dataloader = dict(dataset=dict(own, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(own, pipeline=test_pipeline))
test_dataloader = val_dataloader

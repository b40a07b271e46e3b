"""mmpretrain on the frames of clips: lists, one clip of 4 frames after another.

A line of ``train.txt`` and ``val.txt`` is ``name class``. ClipSampler keeps the frames
of a clip together; random transforms differ from frame to frame.
"""
default_scope = 'mmpretrain'
custom_imports = dict(imports=['cosam_mm'],
                      allow_failed_imports=False)
clip_len = 4

data_preprocessor = dict(
    mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)
pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(224, 224)),
    dict(type='PackInputs'),
]
train_dataloader = dict(
    batch_size=8 * clip_len, num_workers=4, persistent_workers=True,
    sampler=dict(type='ClipSampler', clip_len=clip_len),
    dataset=dict(type='CustomDataset', data_root='data/frames', ann_file='train.txt',
                 pipeline=pipeline))
val_dataloader = dict(
    batch_size=8 * clip_len, num_workers=4, persistent_workers=True,
    sampler=dict(type='ClipSampler', clip_len=clip_len, shuffle=False),
    dataset=dict(type='CustomDataset', data_root='data/frames', ann_file='val.txt',
                 pipeline=pipeline, test_mode=True))
val_evaluator = dict(type='Accuracy', topk=1)

train_cfg = dict(by_epoch=True, max_epochs=30, val_interval=1)
val_cfg = dict()
optim_wrapper = dict(optimizer=dict(type='AdamW', lr=1e-4, weight_decay=0.05))
param_scheduler = dict(type='CosineAnnealingLR', T_max=30, by_epoch=True)

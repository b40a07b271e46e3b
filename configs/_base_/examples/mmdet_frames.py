"""mmdetection on the frames of clips: COCO's format, clips of 4 frames in order.

Images have one size, so that batches are not padded, and no batch sampler regroups
them by aspect ratio.
"""
default_scope = 'mmdet'
custom_imports = dict(imports=['cosam_mm'],
                      allow_failed_imports=False)
clip_len = 4

model = dict(data_preprocessor=dict(
    type='DetDataPreprocessor', mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375], bgr_to_rgb=True, pad_size_divisor=32))
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=(512, 512), keep_ratio=False),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(512, 512), keep_ratio=False),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs', meta_keys=(
        'img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]
metainfo = dict(classes=('cat', 'dog'))
train_dataloader = dict(
    batch_size=2 * clip_len, num_workers=4, persistent_workers=True,
    sampler=dict(type='ClipSampler', clip_len=clip_len),
    dataset=dict(type='CocoDataset', metainfo=metainfo, data_root='data/frames',
                 ann_file='train.json', data_prefix=dict(img=''),
                 pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=clip_len, num_workers=2, persistent_workers=True,
    sampler=dict(type='ClipSampler', clip_len=clip_len, shuffle=False),
    dataset=dict(type='CocoDataset', metainfo=metainfo, data_root='data/frames',
                 ann_file='val.json', data_prefix=dict(img=''), test_mode=True,
                 pipeline=test_pipeline))
val_evaluator = dict(type='CocoMetric', ann_file='data/frames/val.json', metric='bbox')

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=12, val_interval=1)
val_cfg = dict(type='ValLoop')
optim_wrapper = dict(
    optimizer=dict(type='SGD', lr=0.005, momentum=0.9, weight_decay=1e-4),
    clip_grad=dict(max_norm=35, norm_type=2))
param_scheduler = dict(type='MultiStepLR', milestones=[8, 11], gamma=0.1, by_epoch=True)

"""MARS: clips of 4 consecutive frames of 256 x 128, 8 persons x 4 tracklets a batch.

The other data sets differ in type and folder only, and inherit the rest. The queries
are taken out of the gallery (9,330 tracklets); the protocol that leaves them in:
``test_dataloader.dataset.query.query_in_gallery=True`` and the same of the gallery.
``erasing_pipeline`` is for configs that train with erased boxes, ``*_strong.py``.
"""
sample_train = dict(type='SampleTrackletFrames', num_frames=4, mode='consecutive')
sample_test = dict(type='SampleTrackletFrames', num_frames=4, mode='all_clips')
load_train = dict(type='LoadTrackletFrames', on_unreadable='skip')
load_test = dict(type='LoadTrackletFrames', on_unreadable='blank')
resize = dict(type='ResizeFrames', size=(256, 128))
translate = dict(type='RandomTranslation2D', size=(256, 128), prob=0.5)
flip = dict(type='RandomFlipFrames', prob=0.5)
erase = dict(type='RandomErasingFrames', prob=0.5, per_frame=True)
pack = dict(type='PackTrackletInputs')
train_pipeline = [sample_train, load_train, translate, flip, pack]
erasing_pipeline = [sample_train, load_train, translate, flip, erase, pack]
test_pipeline = [sample_test, load_test, resize, pack]

train_dataloader = dict(
    batch_size=32,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='PKSampler', num_pids_per_batch=8, num_tracklets_per_pid=4),
    dataset=dict(
        type='MARS', data_root='data/mars', subset='train',
        pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=4,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='QueryGalleryDataset',
        query=dict(
            type='MARS', data_root='data/mars', subset='query',
            pipeline=test_pipeline),
        gallery=dict(
            type='MARS', data_root='data/mars', subset='gallery',
            pipeline=test_pipeline)))
test_dataloader = val_dataloader

val_evaluator = dict(type='ReIDMetric', distance='euclidean')
test_evaluator = val_evaluator

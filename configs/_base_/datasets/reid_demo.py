"""The synthetic persons: clips of 4 frames of 64 x 32, in MARS's layout.

``tools/prepare_data.py reid-demo`` generates them.
"""
_base_ = ['./reid_mars.py']
load_test = dict(type='LoadTrackletFrames', on_unreadable='blank', blank_size=(64, 32))
resize = dict(type='ResizeFrames', size=(64, 32))
translate = dict(type='RandomTranslation2D', size=(64, 32), prob=0.5)
train_pipeline = [
    {{_base_.sample_train}}, {{_base_.load_train}}, translate, {{_base_.flip}},
    {{_base_.pack}}
]
erasing_pipeline = [
    {{_base_.sample_train}}, {{_base_.load_train}}, translate, {{_base_.flip}},
    {{_base_.erase}}, {{_base_.pack}}
]
test_pipeline = [{{_base_.sample_test}}, load_test, resize, {{_base_.pack}}]
demo = dict(data_root='data/reid_demo', name='reid_demo', expected_counts=None)
demo_test = dict(demo, pipeline=test_pipeline)

train_dataloader = dict(
    num_workers=1, dataset=dict(demo, pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=8, num_workers=1, dataset=dict(query=demo_test, gallery=demo_test))
test_dataloader = val_dataloader

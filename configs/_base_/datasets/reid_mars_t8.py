"""MARS: clips of 8 frames."""
_base_ = ['./reid_mars.py']
sample_train = dict(type='SampleTrackletFrames', num_frames=8, mode='consecutive')
sample_test = dict(type='SampleTrackletFrames', num_frames=8, mode='all_clips')
train_pipeline = [
    sample_train, {{_base_.load_train}}, {{_base_.translate}}, {{_base_.flip}},
    {{_base_.pack}}
]
test_pipeline = [
    sample_test, {{_base_.load_test}}, {{_base_.resize}}, {{_base_.pack}}
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(
    query=dict(pipeline=test_pipeline), gallery=dict(pipeline=test_pipeline)))
test_dataloader = val_dataloader

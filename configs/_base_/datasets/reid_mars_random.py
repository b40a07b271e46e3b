"""MARS: training clips of frames from all over a tracklet."""
_base_ = ['./reid_mars.py']
sample_train = dict(type='SampleTrackletFrames', num_frames=4, mode='random')
train_pipeline = [
    sample_train, {{_base_.load_train}}, {{_base_.translate}}, {{_base_.flip}},
    {{_base_.pack}}
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

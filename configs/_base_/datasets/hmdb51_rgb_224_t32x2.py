"""HMDB51, RGB, 224 x 224: clips of 32 frames, every second one (I3D-R50, Swin-T)."""
_base_ = ['./hmdb51_rgb_224.py']
sample_train = dict(type='SampleFrames', clip_len=32, frame_interval=2)
sample_test = dict(
    type='SampleFrames', clip_len=32, frame_interval=2, test_mode=True)
train_pipeline = [
    _base_.train_pipeline[0], sample_train, *_base_.train_pipeline[2:]]
val_pipeline = [_base_.val_pipeline[0], sample_test, *_base_.val_pipeline[2:]]
test_pipeline = [_base_.test_pipeline[0], sample_test, *_base_.test_pipeline[2:]]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))

"""HMDB51, RGB, 224 x 224: one frame of each of 8 equal parts of a video (TSN, TSM)."""
_base_ = ['./hmdb51_rgb_224.py']
sample_train = dict(type='SampleFrames', clip_len=1, num_clips=8)
sample_test = dict(type='SampleFrames', clip_len=1, num_clips=8, test_mode=True)
frames = dict(type='FormatShape', input_format='NCHW')
train_pipeline = [
    _base_.train_pipeline[0], sample_train, *_base_.train_pipeline[2:-2], frames,
    _base_.train_pipeline[-1]]
val_pipeline = [
    _base_.val_pipeline[0], sample_test, *_base_.val_pipeline[2:-2], frames,
    _base_.val_pipeline[-1]]
test_pipeline = [
    _base_.test_pipeline[0], sample_test, *_base_.test_pipeline[2:-2], frames,
    _base_.test_pipeline[-1]]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))

"""HMDB51, RGB, 112 x 112, with RandAugment after crop and flip."""
_base_ = ['./hmdb51_rgb_112.py']
rand_augment = dict(
    type='ClipRandAugment', num_operations=2, magnitude=0.3, magnitude_std=0.05)
train_pipeline = [
    *_base_.train_pipeline[:-2], rand_augment, *_base_.train_pipeline[-2:]]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

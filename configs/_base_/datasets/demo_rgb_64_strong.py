"""demo_rgb_64.py with RandAugment of colours: where things go is what classes are."""
_base_ = ['./demo_rgb_64.py']
rand_augment = dict(
    type='ClipRandAugment', num_operations=2, magnitude=0.3, magnitude_std=0.05,
    operations=('auto_contrast', 'brightness', 'color', 'contrast', 'equalize',
                'posterize', 'sharpness', 'solarize'))
train_pipeline = [
    *_base_.train_pipeline[:-2], rand_augment, *_base_.train_pipeline[-2:]]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

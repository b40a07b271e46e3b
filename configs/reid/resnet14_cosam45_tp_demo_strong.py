"""Small ResNet + COSAM + mean over frames for generated persons, modern recipe."""
_base_ = [
    '../_base_/models/reid_resnet14_ibn_tp.py',
    '../_base_/datasets/reid_demo.py',
    '../_base_/schedules/reid_demo_strong.py',
    '../_base_/reid_runtime.py',
]
train_dataloader = dict(dataset=dict(pipeline={{_base_.erasing_pipeline}}))
val_evaluator = test_evaluator = dict(distance='cosine')
cosam = dict(type='COSAM', num_frames=4, spatial_size=(4, 2))
model = dict(backbone=dict(plugins=[
    dict(cfg=cosam, position='after_layer3'),
    dict(cfg=cosam, position='after_layer4')]))

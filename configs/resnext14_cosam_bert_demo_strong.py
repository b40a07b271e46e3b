"""Small 3-D ResNeXt + COSAM + BERT for generated clips, modern recipe."""
_base_ = [
    './_base_/models/resnext14_bert_strong.py',
    './_base_/datasets/demo_rgb_64_strong.py',
    './_base_/schedules/demo_strong.py',
    './_base_/demo_strong_runtime.py',
]
cosam = dict(type='COSAM', num_frames=4, spatial_size=(4, 4))
model = dict(backbone=dict(plugins=[dict(cfg=cosam, position='after_layer3')]))

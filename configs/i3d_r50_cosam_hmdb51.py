_base_ = [
    './_base_/models/i3d_r50.py',
    './_base_/datasets/hmdb51_rgb_224_t32x2.py',
    './_base_/schedules/late_temporal.py',
    './_base_/default_runtime.py',
]
model = dict(backbone=dict(
    _delete_=True, type='PluggedBackbone', backbone=_base_.model.backbone,
    input_shape=(1, 3, 32, 224, 224),
    plugins=[dict(cfg=dict(type='COSAM'), after='layer3')]))

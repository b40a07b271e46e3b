_base_ = [
    './_base_/models/tsm_r50.py',
    './_base_/datasets/hmdb51_rgb_224_segments8.py',
    './_base_/schedules/late_temporal.py',
    './_base_/default_runtime.py',
]
model = dict(backbone=dict(
    _delete_=True, type='PluggedBackbone', backbone=_base_.model.backbone,
    input_shape=(8, 3, 224, 224),
    plugins=[dict(cfg=dict(type='COSAM'), after='layer3')]))

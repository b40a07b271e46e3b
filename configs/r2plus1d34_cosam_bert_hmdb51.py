_base_ = [
    './_base_/models/r2plus1d34_bert.py',
    './_base_/datasets/hmdb51_rgb_112_t32.py',
    './_base_/schedules/late_temporal.py',
    './_base_/default_runtime.py',
]
model = dict(backbone=dict(
    _delete_=True, type='PluggedBackbone', backbone=_base_.model.backbone,
    input_shape=(1, 3, 32, 112, 112),
    plugins=[dict(cfg=dict(type='COSAM'), after='layer3')]))

_base_ = [
    './_base_/models/videomae_base.py',
    './_base_/datasets/hmdb51_rgb_224_t16x2.py',
    './_base_/schedules/video_transformer.py',
    './_base_/default_runtime.py',
]
model = dict(backbone=dict(
    _delete_=True, type='PluggedBackbone', backbone=_base_.model.backbone,
    input_shape=(1, 3, 16, 224, 224),
    plugins=[dict(cfg=dict(type='COSAM'), after='blocks.8',
                  layout='clip_tokens', grid=(8, 14, 14))]))

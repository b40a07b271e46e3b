_base_ = [
    '../_base_/models/reid_clip_vitb16_tp.py',
    '../_base_/datasets/reid_mars.py',
    '../_base_/schedules/reid_clip.py',
    '../_base_/reid_runtime.py',
]
model = dict(
    backbone=dict(
        _delete_=True, type='PluggedBackbone', backbone=_base_.model.backbone,
        input_shape=(4, 3, 256, 128),
        plugins=[dict(
            cfg=dict(type='COSAM'), after='vision_model.encoder.layers.8',
            layout='frame_tokens', grid=(4, 16, 8), num_prefix_tokens=1)]),
    head=dict(num_pids=625))

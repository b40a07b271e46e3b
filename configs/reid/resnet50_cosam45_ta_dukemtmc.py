_base_ = [
    '../_base_/models/reid_resnet50_ta.py',
    '../_base_/datasets/reid_dukemtmc.py',
    '../_base_/schedules/reid.py',
    '../_base_/reid_runtime.py',
]
cosam4 = dict(type='COSAM', num_frames=4, spatial_size=(16, 8))
cosam5 = dict(type='COSAM', num_frames=4, spatial_size=(8, 4))
model = dict(
    backbone=dict(plugins=[
        dict(cfg=cosam4, position='after_layer3'),
        dict(cfg=cosam5, position='after_layer4')]),
    head=dict(num_pids=702))

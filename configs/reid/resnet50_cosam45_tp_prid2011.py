_base_ = [
    '../_base_/models/reid_resnet50_tp.py',
    '../_base_/datasets/reid_prid2011.py',
    '../_base_/schedules/reid.py',
    '../_base_/reid_runtime.py',
]
cosam4 = cosam5 = dict(type='COSAM', num_frames=4, spatial_size=(16, 8))
model = dict(
    backbone=dict(plugins=[
        dict(cfg=cosam4, position='after_layer3'),
        dict(cfg=cosam5, position='after_layer4')]),
    head=dict(num_pids=89))

_base_ = './se_resnet50_cosam45_tp_mars.py'
nonlocal_block = dict(
    type='ClipAdapter', num_frames=4,
    module=dict(type='mmcv.cnn.NonLocal3d', norm_cfg=dict(type='BN3d')))
model = dict(backbone=dict(plugins=[
    dict(cfg=nonlocal_block, position='after_layer3'),
    dict(cfg=nonlocal_block, position='after_layer4')]))

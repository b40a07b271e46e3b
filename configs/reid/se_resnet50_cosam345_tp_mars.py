_base_ = './se_resnet50_cosam45_tp_mars.py'
cosam3 = dict(type='COSAM', num_frames=4, spatial_size=(32, 16))
cosam4 = dict(type='COSAM', num_frames=4, spatial_size=(16, 8))
cosam5 = dict(type='COSAM', num_frames=4, spatial_size=(16, 8))
model = dict(backbone=dict(plugins=[
    dict(cfg=cosam3, position='after_layer2'),
    dict(cfg=cosam4, position='after_layer3'),
    dict(cfg=cosam5, position='after_layer4')]))

_base_ = './se_resnet50_cosam45_tp_mars.py'
cosam5 = dict(type='COSAM', num_frames=4, spatial_size=(16, 8))
model = dict(backbone=dict(plugins=[
    dict(cfg=cosam5, position='after_layer4')]))

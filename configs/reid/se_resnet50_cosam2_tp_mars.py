_base_ = './se_resnet50_cosam45_tp_mars.py'
cosam2 = dict(type='COSAM', num_frames=4, spatial_size=(64, 32))
model = dict(backbone=dict(plugins=[
    dict(cfg=cosam2, position='after_layer1')]))

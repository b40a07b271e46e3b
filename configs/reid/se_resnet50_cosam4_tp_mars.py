_base_ = './se_resnet50_cosam45_tp_mars.py'
cosam4 = dict(type='COSAM', num_frames=4, spatial_size=(16, 8))
model = dict(backbone=dict(plugins=[
    dict(cfg=cosam4, position='after_layer3')]))

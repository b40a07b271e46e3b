_base_ = './se_resnet50_cosam45_tp_mars.py'
cosam = dict(
    type='COSAM', num_frames=4, spatial_size=(16, 8), with_channel=False)
model = dict(backbone=dict(plugins=[
    dict(cfg=cosam, position='after_layer3'),
    dict(cfg=cosam, position='after_layer4')]))

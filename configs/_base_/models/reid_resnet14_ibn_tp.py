"""The small ResNet of the demo with IBN-a, a BNNeck and a center loss."""
_base_ = ['./reid_resnet14_tp.py']
model = dict(
    backbone=dict(ibn='a'),
    neck=dict(type='BNNeck'),
    head=dict(bias=False, init_cfg=dict(type='Normal', layer='Linear', std=0.001)),
    losses=dict(center=dict(type='CenterLoss', loss_weight=5e-4)))

"""ResNet50 and temporal attention (TA), which needs the smaller maps of stride 2."""
_base_ = ['./reid_resnet50_tp.py']
model = dict(
    backbone=dict(last_stride=2),
    aggregation=dict(type='TemporalAttentionAggregation', spatial_size=(8, 4)))

"""resnext101_bert.py with smoothed labels; each batch is mixed by mixup or CutMix.

Each batch takes one of the two at random. The leaf sets their number of classes.
"""
_base_ = ['./resnext101_bert.py']
blends = [
    dict(type='MixupBlending', alpha=0.2), dict(type='CutmixBlending', alpha=1.0)]
model = dict(
    cls_head=dict(label_smooth_eps=0.1),
    data_preprocessor=dict(blending=dict(type='RandomBatchAugment')))

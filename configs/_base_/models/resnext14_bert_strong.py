"""resnext14_bert.py with smoothed labels; each batch is mixed by mixup or CutMix."""
_base_ = ['./resnext14_bert.py']
blends = [
    dict(type='MixupBlending', alpha=0.2, num_classes=8),
    dict(type='CutmixBlending', alpha=1.0, num_classes=8)]
model = dict(
    cls_head=dict(label_smooth_eps=0.1),
    data_preprocessor=dict(blending=dict(type='RandomBatchAugment', augments=blends)))
